"""One phone made of JsSIP in headless Chromium: a JSON object a line each way, as pjsip.py.

The argument is the folder that `install` has made. The page is jssip.html; this is its line to the world: the DevTools protocol
over a pair of pipes (--remote-debugging-pipe), each message ended by a zero byte.
"""

import base64
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import wave

BROWSER = "/usr/bin/chromium-headless-shell"
FLAGS = [
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*",
    # A microphone that beeps, and leave to use it; candidates of loopback, without mDNS names for them.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]


class Browser:
    """A browser with one page."""

    def __init__(self, flags, profile):
        theirs_in, self.to = os.pipe()
        self.origin, theirs_out = os.pipe()

        def third_and_fourth():
            # Moved out of the way of each other first.
            pair = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(pair[0], 3)
            os.dup2(pair[1], 4)

        self.process = subprocess.Popen(
            [BROWSER, *FLAGS, *flags, f"--user-data-dir={os.path.abspath(profile)}"],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            preexec_fn=third_and_fourth,
            close_fds=False,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.pending = b""
        self.last = 0
        self.session = None

    def send(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.last

    def read(self):
        """The messages that have come."""
        read = os.read(self.origin, 1 << 20)
        if not read:
            raise SystemExit("the browser has ended")
        *messages, self.pending = (self.pending + read).split(b"\0")
        return [json.loads(message) for message in messages]

    def ask(self, method, **params):
        asked = self.send(method, **params)
        answer = self.wait(lambda message: message.get("id") == asked)
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']}")
        return answer["result"]

    def wait(self, wanted):
        while True:
            found = None
            for message in self.read():
                self.note(message)
                found = message if wanted(message) else found
            if found:
                return found

    def open(self, page):
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Page"):
            self.ask(f"{domain}.enable")
        self.ask("Runtime.addBinding", name="report")
        self.send("Page.navigate", url=page.as_uri())
        self.wait(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, script):
        """In the page, without waiting."""
        self.send("Runtime.evaluate", expression=script)

    @staticmethod
    def note(message):
        """What the page tells goes out; what goes wrong in it goes to the log."""
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.bindingCalled":
            print(json.dumps(kept(json.loads(params["payload"]))), flush=True)
        elif method == "Runtime.exceptionThrown" or message.get("result", {}).get("exceptionDetails"):
            print(json.dumps(message), file=sys.stderr, flush=True)


def kept(event):
    """What it tells, with a recording in a file."""
    if event["event"] == "recording":
        event["file"] = os.path.abspath("recording.wav")
        with wave.open(event["file"], "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(event["rate"])
            file.writeframes(base64.b64decode(event.pop("sound")))
    return event


def main():
    installed = pathlib.Path(sys.argv[1])
    who = json.loads(sys.stdin.buffer.raw.readline())
    flags = [f"--ignore-certificate-errors-spki-list={who['server_key']}"]
    # In the folder of the trial, which goes with it.
    with tempfile.TemporaryDirectory(dir=".") as profile:
        browser = Browser(flags, profile)
        try:
            browser.open(pathlib.Path(__file__).with_name("jssip.html").resolve())
            browser.run((installed / "jssip.js").read_text())
            browser.run(f"JsSIP.debug.enable('JsSIP:Transport'); start({json.dumps(who)})")
            obey(browser)
        finally:
            browser.process.kill()
            browser.process.wait()


def obey(browser):
    pending = b""
    while True:
        for ready in select.select([0, browser.origin], [], [])[0]:
            if ready == browser.origin:
                for message in browser.read():
                    browser.note(message)
                continue
            read = os.read(0, 65536)
            if not read:
                return
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                browser.run(f"obey({line.decode()})")


main()
