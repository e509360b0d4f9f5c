//! Linphone and baresip as processes: configured, told what to do, and told apart by nothing else.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::certificates;
use crate::plan::Transport;
use crate::ports;
use crate::process::{Running, tool, until};

/// How loud the tone is, of full scale.
pub const LEVEL: f64 = 0.5;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Linphone,
    Baresip,
}

/// Who a phone is.
pub struct Identity<'a> {
    pub user: &'a str,
    /// Where its SIP goes.
    pub server: SocketAddr,
    pub transport: Transport,
    /// Whether it registers, as `user@example.com` with the password "secret"; a call center does not.
    pub registers: bool,
    /// The codec that it offers first: PCMU or PCMA.
    pub codec: &'static str,
    /// What it plays, in Hz.
    pub tone: u32,
}

/// A phone that answers by itself and plays a tone to whoever it speaks with.
pub struct Phone {
    make: Make,
    running: Running,
    control: SocketAddr,
    /// The ports of its RTP.
    pub media: Range<u16>,
    /// What it says on its terminal.
    output: PathBuf,
    folder: PathBuf,
    recordings: usize,
}

impl Phone {
    /// Starts it in `folder`; its SIP listens at `own`.
    pub fn start(make: Make, identity: &Identity<'_>, own: SocketAddr, folder: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        tone(&folder.join("tone.wav"), identity.tone)?;
        let media = ports::media();
        let control = ports::free(ports::PHONE)?;
        let output = folder.join("output.txt");
        let mut command = match make {
            Make::Linphone => linphone(identity, own, &media, folder)?,
            Make::Baresip => baresip(identity, own, &media, control, folder)?,
        };
        let file = std::fs::File::create(&output).map_err(|error| error.to_string())?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        command.current_dir(folder).env("HOME", folder).stdin(Stdio::piped()).stdout(file).stderr(errors);
        let running = Running::start("phone", &mut command)?;
        let mut phone = Self { make, running, control, media, output, folder: folder.to_owned(), recordings: 0 };
        match make {
            Make::Linphone => {
                let tone = folder.join("tone.wav");
                phone.say("soundcard use files")?;
                phone.say(&format!("play {}", tone.display()))?;
                phone.say("autoanswer enable")?;
            }
            Make::Baresip => {
                let listens = || TcpStream::connect(control).ok();
                until(Duration::from_secs(20), listens).ok_or_else(|| format!("baresip: {}", phone.output()))?;
            }
        }
        Ok(phone)
    }

    pub fn dial(&mut self, uri: &str) -> Outcome<()> {
        match self.make {
            Make::Linphone => self.say(&format!("call {uri}")),
            Make::Baresip => self.command("dial", uri),
        }
    }

    pub fn hang_up(&mut self) -> Outcome<()> {
        match self.make {
            Make::Linphone => self.say("terminate"),
            Make::Baresip => self.command("hangup", ""),
        }
    }

    pub fn hold(&mut self) -> Outcome<()> {
        match self.make {
            Make::Linphone => self.say("pause"),
            Make::Baresip => self.command("hold", ""),
        }
    }

    pub fn resume(&mut self) -> Outcome<()> {
        match self.make {
            Make::Linphone => self.say("resume"),
            Make::Baresip => self.command("resume", ""),
        }
    }

    /// What it hears from now on goes to a new file, which is whole when the call is over.
    pub fn record(&mut self) -> Outcome<()> {
        self.recordings += 1;
        match self.make {
            Make::Linphone => {
                let file = self.folder.join(format!("heard-{}.wav", self.recordings));
                self.say(&format!("record {}", file.display()))
            }
            // It makes a file a call.
            Make::Baresip => self.dumps()?.into_iter().try_for_each(std::fs::remove_file).map_err(words),
        }
    }

    /// The file of the latest recording.
    pub fn recording(&self) -> Outcome<PathBuf> {
        match self.make {
            Make::Linphone => Ok(self.folder.join(format!("heard-{}.wav", self.recordings))),
            Make::Baresip => match self.dumps()?.as_slice() {
                [file] => Ok(file.clone()),
                files => Err(format!("baresip should have recorded one call: {files:?}")),
            },
        }
    }

    /// What the module sndfile of baresip wrote of what was heard.
    fn dumps(&self) -> Outcome<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.folder).map_err(words)?;
        let files = entries.filter_map(Result::ok).map(|entry| entry.path());
        Ok(files.filter(|file| file.to_string_lossy().ends_with("-dec.wav")).collect())
    }

    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// A line at the prompt of linphonec.
    fn say(&mut self, line: &str) -> Outcome<()> {
        let told = self.running.stdin().map(|stdin| writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        match told {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(format!("linphonec has ended: {}", self.output())),
        }
    }

    /// A command to the module ctrl_tcp of baresip: JSON in a netstring.
    fn command(&self, command: &str, params: &str) -> Outcome<()> {
        let json = serde_json::json!({ "command": command, "params": params, "token": "story" }).to_string();
        let mut stream = TcpStream::connect(self.control).map_err(|error| format!("baresip has ended: {error}"))?;
        let sent = write!(stream, "{}:{json},", json.len());
        // It answers when it is done; going away earlier would lose the command.
        let mut answer = [0; 1];
        let read = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let done = sent.and(read).and_then(|()| std::io::Read::read(&mut stream, &mut answer));
        done.map(|_| ()).map_err(|error| format!("baresip does not take commands: {error}: {}", self.output()))
    }
}

fn words(error: std::io::Error) -> String {
    error.to_string()
}

/// A minute of a tone in 8 kHz mono, as both clients play it.
fn tone(file: &Path, hertz: u32) -> Outcome<()> {
    let mut command = Command::new(tool("sox", "sox")?);
    command.args(["-n", "-r", "8000", "-c", "1", "-b", "16"]).arg(file).args([
        "synth",
        "60",
        "sine",
        &hertz.to_string(),
        "vol",
        "0.5",
    ]);
    let status = Running::start("sox", &mut command)?.finish(Duration::from_secs(10))?;
    status.success().then_some(()).ok_or_else(|| format!("sox ended with {status}"))
}

fn linphone(identity: &Identity<'_>, own: SocketAddr, media: &Range<u16>, folder: &Path) -> Outcome<Command> {
    let Identity { user, server, transport, registers, codec, .. } = identity;
    let (port, rtp, token) = (own.port(), media.start, transport.token());
    let authority = certificates::authority_beside(folder);
    // auto_net_state_mon: a monitor that takes loopback for "no network"; without it nothing waits for a network.
    // refresher_retry_after: how soon it looks for a server that was gone, a minute by default.
    let rc = format!(
        "[sip]\nsip_port={port}\nsip_tcp_port={port}\nsip_tls_port={}\nroot_ca={}\nverify_server_certs=1\nverify_server_cn=1\nuse_ipv6=0\nguess_hostname=0\ndefault_proxy=0\n\
         auto_net_state_mon=0\nregister_only_when_network_is_up=0\n\
         refresher_retry_after=1000\ncontact=<sip:{user}@{}>\n\
         [rtp]\naudio_rtp_port={rtp}\n[audio_codec_0]\nmime={codec}\nrate=8000\nchannels=1\nenabled=1\n\
         [proxy_0]\nreg_proxy=<sip:{server};transport={token}>\nreg_route=<sip:{server};transport={token};lr>\n\
         reg_identity=sip:{user}@example.com\nreg_expires=600\nreg_sendregister={}\n\
         [auth_info_0]\nusername={user}\npasswd=secret\nrealm=example.com\ndomain=example.com\n",
        port + 1,
        authority.display(),
        interface(own),
        u8::from(*registers)
    );
    write(&folder.join("linphonerc"), &rc)?;
    // Its database: without the folder it starts, and stays without a socket.
    std::fs::create_dir_all(folder.join(".local/share/linphone")).map_err(|error| error.to_string())?;
    let mut command = Command::new(tool("linphonec", "linphone-cli")?);
    command.args(["-c", "linphonerc", "-d", "6", "-l", "linphone.log"]);
    Ok(command)
}

fn baresip(
    identity: &Identity<'_>,
    own: SocketAddr,
    media: &Range<u16>,
    control: SocketAddr,
    folder: &Path,
) -> Outcome<Command> {
    let Identity { user, server, transport, registers, codec, .. } = identity;
    let token = transport.token();
    let modules = modules()?;
    let config = format!(
        "poll_method epoll\nsip_listen {own}\ncall_max_calls 4\naudio_source aufile,{}\naudio_alert \n\
         ausrc_channels 1\nauplay_channels 1\nrtp_ports {}-{}\nnet_interface {}\nsnd_path {}\nmodule_path {}\n\
         module g711.so\nmodule sndfile.so\nmodule aufile.so\nmodule_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\n\
         module_app ctrl_tcp.so\nctrl_tcp_listen {control}\nsip_cafile {}\nsip_verify_server yes\n\
         sip_certificate {}\n",
        folder.join("tone.wav").display(),
        media.start,
        media.end,
        interface(own),
        folder.display(),
        modules.display(),
        certificates::authority_beside(folder).display(),
        certificates::of_trunk_beside(folder).display(),
    );
    write(&folder.join("config"), &config)?;
    // A line end here would end up inside its Contact.
    write(&folder.join("uuid"), "6a1f3c9e-2b7d-4e80-9c51-d04f7a8b6e13")?;
    write(&folder.join("contacts"), "")?;
    let account = match registers {
        true => {
            // It notices that a connection is gone only with RFC 5626, and comes back 30 to 60 s later.
            let outbound = if *transport == Transport::Tls { ";sipnat=outbound" } else { "" };
            format!("sip:{user}@example.com;transport={token}>;auth_user={user};auth_pass=secret;regint=600{outbound}")
        }
        false => format!("sip:{user}@{own};transport={token}>;regint=0"),
    };
    write(
        &folder.join("accounts"),
        &format!(
            "<{account};answermode=auto;outbound=\"sip:{server};transport={token}\";audio_codecs={}/8000/1\n",
            codec.to_lowercase()
        ),
    )?;
    let mut command = Command::new(tool("baresip", "baresip-core")?);
    command.arg("-f").arg(folder);
    Ok(command)
}

/// What it says of itself; the loopback has many addresses, and one that everybody knows.
fn interface(own: SocketAddr) -> IpAddr {
    if own.ip().is_loopback() { Ipv4Addr::LOCALHOST.into() } else { own.ip() }
}

fn modules() -> Outcome<PathBuf> {
    let folder = PathBuf::from("/usr/lib/baresip/modules");
    match folder.join("ctrl_tcp.so").exists() {
        true => Ok(folder),
        false => Err("baresip has no module ctrl_tcp; it is in the Debian package baresip-core".to_owned()),
    }
}

fn write(file: &Path, text: &str) -> Outcome<()> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
