"""One phone made of PJSIP: told what to do on stdin, tells what happens on stdout, a JSON object a line.

The first line says who it is; see `Identity` in ../party.rs. It answers every call and plays a tone to whoever it speaks with.
"""

import json
import os
import select
import sys

# PJSIP writes to stdout as it starts; that goes where its log goes.
OUT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import pjsua2 as pj  # noqa: E402

TRANSPORTS = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
MEDIA = {
    pj.PJSUA_CALL_MEDIA_ACTIVE: "active",
    pj.PJSUA_CALL_MEDIA_LOCAL_HOLD: "holds",
    pj.PJSUA_CALL_MEDIA_REMOTE_HOLD: "held",
}
# Of the levels that the bridge gives, 0 to 255; and how often in 20 ms steps.
LOUD, OFTEN = 10, 15


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), file=OUT, flush=True)


class Call(pj.Call):
    def __init__(self, phone, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(phone.account, call_id)
        self.phone = phone

    def onCallState(self, prm):
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            tell("answered")
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            tell("ended", status=info.lastStatusCode)
            self.phone.call = None

    def onCallTsxState(self, prm):
        request = prm.e.body.tsxState.tsx
        # Another offer was under way (RFC 3261 14.1).
        if request.method == "INVITE" and request.role == pj.PJSIP_ROLE_UAC and request.statusCode == 491:
            self.phone.change = self.phone.offered

    def onCallMediaState(self, prm):
        info = self.getInfo()  # its parts go when it goes
        for at, media in enumerate(info.media):
            if media.type != pj.PJMEDIA_TYPE_AUDIO or media.status not in MEDIA:
                continue
            if media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                audio = self.getAudioMedia(at)
                self.phone.tone.startTransmit(audio)
                # Somebody must listen, or the bridge measures nothing.
                audio.startTransmit(self.phone.manager.getPlaybackDevMedia())
            tell("media", state=MEDIA[media.status])


class Account(pj.Account):
    def __init__(self, phone):
        super().__init__()
        self.phone = phone

    def onRegState(self, prm):
        tell("registered", status=prm.code)

    def onIncomingCall(self, prm):
        self.phone.call = Call(self.phone, prm.callId)
        tell("incoming", message=prm.rdata.wholeMsg)
        self.phone.answer(180 if self.phone.rings else 200)


class Phone:
    def __init__(self, who):
        self.call = None
        self.rings = who["rings"]
        self.listening = 0
        self.change = self.offered = None
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.logConfig.level = config.logConfig.consoleLevel = 4
        self.endpoint.libInit(config)
        transport = self.endpoint.transportCreate(TRANSPORTS[who["transport"]], self.transport(who))
        self.endpoint.libStart()
        self.manager = self.endpoint.audDevManager()
        self.manager.setNullDev()
        for codec in self.endpoint.codecEnum2():
            self.endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU/8000") else 0)
        self.tone = pj.ToneGenerator()
        self.tone.createToneGenerator()
        self.tone.play(self.tones(who["tone"]), True)
        self.account = Account(self)
        self.account.create(self.account_of(who, transport))
        tell("ready")

    @staticmethod
    def transport(who):
        config = pj.TransportConfig()
        config.boundAddress, port = who["own"].rsplit(":", 1)
        config.publicAddress = config.boundAddress
        config.port = int(port)
        if who["transport"] == "tls":
            config.tlsConfig.CaListFile = who["ca"]
            config.tlsConfig.certFile = config.tlsConfig.privKeyFile = who["cert"]
            config.tlsConfig.verifyServer = True
        return config

    @staticmethod
    def tones(frequency):
        tone = pj.ToneDesc()
        tone.freq1, tone.on_msec, tone.off_msec = frequency, 1000, 0
        tones = pj.ToneDescVector()
        tones.append(tone)
        return tones

    @staticmethod
    def account_of(who, transport):
        config = pj.AccountConfig()
        config.sipConfig.transportId = transport
        config.mediaConfig.transportConfig.boundAddress = who["own"].rsplit(":", 1)[0]
        config.mediaConfig.transportConfig.port = who["media"]
        if not who["registers"]:
            config.idUri = f"sip:{who['user']}@{who['own']}"
            return config
        config.idUri = f"sip:{who['user']}@{who['domain']}"
        config.regConfig.registrarUri = f"sip:{who['domain']}"
        config.sipConfig.proxies.append(f"sip:{who['server']};transport={who['transport']};lr")
        config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", who["user"], 0, "secret"))
        return config

    def obey(self, command):
        do = command["do"]
        if do == "dial":
            self.call = Call(self)
            self.call.makeCall(command["uri"], pj.CallOpParam(True))
        elif do == "answer":
            self.answer(200)
        elif do in ("hold", "resume"):
            self.change = do
        elif do == "transfer":
            self.call.xfer(command["uri"], pj.CallOpParam(True))
        elif do == "hang up":
            self.call.hangup(pj.CallOpParam(True))
        elif do == "listen":
            self.listening = OFTEN
        else:
            raise ValueError(do)

    def answer(self, status):
        param = pj.CallOpParam()
        param.statusCode = status
        self.call.answer(param)

    def offer(self):
        """Holds or resumes; tried again while another offer is under way."""
        if not self.change or not self.call:
            return
        param = pj.CallOpParam(True)
        try:
            if self.change == "hold":
                self.call.setHold(param)
            else:
                param.opt.flag = pj.PJSUA_CALL_UNHOLD
                self.call.reinvite(param)
            self.change, self.offered = None, self.change
        except pj.Error as error:
            print(error.info(), file=sys.stderr)

    def listen(self):
        """Tells once that it has heard enough."""
        if self.listening and self.call and self.call.hasMedia():
            try:
                level = self.call.getAudioMedia(-1).getRxLevel()
            except pj.Error:
                return
            self.listening -= level > LOUD
            if not self.listening:
                tell("heard")

    def run(self):
        pending = b""
        while True:
            self.endpoint.libHandleEvents(20)
            self.offer()
            self.listen()
            if select.select([0], [], [], 0)[0]:
                read = os.read(0, 65536)
                if not read:
                    return
                *lines, pending = (pending + read).split(b"\n")
                for line in lines:
                    self.obey(json.loads(line))


def main():
    phone = Phone(json.loads(sys.stdin.buffer.raw.readline()))
    try:
        phone.run()
    finally:
        # What is up is nobody's concern any more: no un-REGISTER, no BYE.
        os._exit(0)


main()
