//! A small internet of network namespaces: a public network of two machines, and private ones, each behind a NAT of its own.
//!
//! Nothing leads from the public network to a private one but the NAT: its packets are forwarded only where somebody inside
//! has asked, and it masquerades with ports at random.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Outcome;
use crate::process::{Running, tool};

/// Of the two machines of the public network: one that routes, and a neighbour.
pub const PUBLIC: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
/// Of the one machine in each private network.
pub const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

const RULES: &str = r#"
table ip nat {
    chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade fully-random; }
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan" accept
    }
}
"#;

/// A network namespace, which goes with this value.
pub struct Namespace(String);

impl Namespace {
    fn add(name: &str) -> Outcome<Self> {
        let name = format!("sosbridge-{}-{name}", std::process::id());
        ip(&format!("netns add {name}"))
            .map_err(|error| format!("{error}; the test needs the right to make network namespaces"))?;
        let namespace = Self(name);
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Does something inside; processes that it starts stay there.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        let file = File::open(Path::new("/run/netns").join(&self.0)).map_err(|error| format!("{}: {error}", self.0))?;
        // A thread of its own, since a thread of the tests would stay inside.
        let enter = || {
            let entered = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
            entered.map_err(|error| format!("cannot enter {}: {error}", self.0))?;
            act()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).map_err(|_| format!("a panic in {}", self.0))?
    }

    fn ip(&self, line: &str) -> Outcome<()> {
        ip(&format!("-n {} {line}", self.0))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.0)) {
            eprintln!("{} stays: {error}", self.0);
        }
    }
}

pub struct Network {
    pub public: Namespace,
    pub neighbour: Namespace,
    /// Private networks.
    pub homes: Vec<Namespace>,
    _nats: Vec<Namespace>,
}

impl Network {
    /// With so many private networks, all with the same addresses.
    pub fn build(homes: u8) -> Outcome<Self> {
        let (public, neighbour) = (Namespace::add("public")?, Namespace::add("neighbour")?);
        ip(&format!("link add eth netns {} type veth peer name eth netns {}", public.0, neighbour.0))?;
        for (machine, address) in [&public, &neighbour].into_iter().zip(PUBLIC) {
            machine.ip(&format!("addr add {address}/24 dev eth"))?;
            machine.ip("link set eth up")?;
        }
        let mut network = Self { public, neighbour, homes: Vec::new(), _nats: Vec::new() };
        for home in 0..homes {
            network.add_home(home)?;
        }
        Ok(network)
    }

    fn add_home(&mut self, at: u8) -> Outcome<()> {
        let public = &self.public;
        let (home, nat) = (Namespace::add(&format!("home{at}"))?, Namespace::add(&format!("nat{at}"))?);
        let (isp, wan) = (4 * at + 1, 4 * at + 2);
        ip(&format!("link add wan netns {} type veth peer name isp{at} netns {}", nat.0, public.0))?;
        ip(&format!("link add lan netns {} type veth peer name eth netns {}", nat.0, home.0))?;
        public.ip(&format!("addr add 198.51.100.{isp}/30 dev isp{at}"))?;
        public.ip(&format!("link set isp{at} up"))?;
        for (device, address) in [("wan", format!("198.51.100.{wan}/30")), ("lan", "10.0.0.1/24".to_owned())] {
            nat.ip(&format!("addr add {address} dev {device}"))?;
            nat.ip(&format!("link set {device} up"))?;
        }
        nat.ip(&format!("route add default via 198.51.100.{isp}"))?;
        home.ip(&format!("addr add {PRIVATE}/24 dev eth"))?;
        home.ip("link set eth up")?;
        home.ip("route add default via 10.0.0.1")?;
        nat.inside(|| {
            let forward = std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
            forward.map_err(|error| format!("ip_forward: {error}"))?;
            nft(RULES)
        })?;
        self.homes.push(home);
        self._nats.push(nat);
        Ok(())
    }
}

fn ip(line: &str) -> Outcome<()> {
    let mut command = Command::new(tool("ip", "iproute2")?);
    command.args(line.split(' ')).stdin(Stdio::null());
    let status = Running::start("ip", &mut command)?.finish(Duration::from_secs(10))?;
    status.success().then_some(()).ok_or_else(|| format!("ip {line}: {status}"))
}

fn nft(rules: &str) -> Outcome<()> {
    let mut command = Command::new(tool("nft", "nftables")?);
    let mut running = Running::start("nft", command.args(["-f", "-"]).stdin(Stdio::piped()))?;
    running
        .take_stdin()
        .map_or(Ok(()), |mut stdin| stdin.write_all(rules.as_bytes()))
        .map_err(|error| error.to_string())?;
    let status = running.finish(Duration::from_secs(10))?;
    status.success().then_some(()).ok_or_else(|| format!("nft does not take the rules: {status}"))
}
