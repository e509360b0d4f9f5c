//! Media through a real rtpengine in user space, and what becomes of calls when it is silent, late, wrong or gone (SPEC §8).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]
#![allow(dead_code)]

#[path = "../scenarios/ports.rs"]
mod ports;
#[path = "../scenarios/process.rs"]
mod process;
#[path = "../scenarios/rtpengine.rs"]
mod rtpengine;
#[path = "../world/mod.rs"]
mod world;

mod away;
mod through;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use rtpengine::Rtpengine;
use world::{Answering, Msg, RELAY, RELAY6, Toml, World, alice};

/// As in the scenarios, whose parties are used here.
pub type Outcome<T> = Result<T, String>;

/// Where nobody is.
fn nobody() -> SocketAddr {
    "127.0.0.1:9".parse().unwrap()
}

fn engine(folder: &tempfile::TempDir) -> Rtpengine {
    Rtpengine::start(folder.path()).unwrap()
}

/// A world whose media go through these instances; alice is registered. There are ports of the relay too.
fn world(instances: &[SocketAddr], ng: Option<Answering>) -> World {
    world_of(Toml::default(), instances, ng)
}

fn world_of(toml: Toml, instances: &[SocketAddr], ng: Option<Answering>) -> World {
    let list: Vec<String> = instances.iter().map(|instance| format!("\"udp:{instance}\"")).collect();
    let media =
        format!("mode = \"rtpengine\"\naddress = [\"{RELAY}\", \"{RELAY6}\"]\nrtpengine = [{}]", list.join(", "));
    let mut world = World::of(&toml.change("mode = \"pass\"", &media));
    world.ng = ng;
    world.bind(16);
    world.register(&alice());
    world
}

/// What the instance itself says.
fn real() -> Option<Answering> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    Some(Box::new(move |to, bytes| {
        socket.send_to(bytes, to).ok()?;
        let mut buffer = vec![0; 65_535];
        let (length, from) = socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, to);
        Some(Bytes::copy_from_slice(&buffer[..length]))
    }))
}

/// The cookie of a command, and `text`.
fn reply(command: &[u8], text: &[u8]) -> Bytes {
    let cookie = command.split(|byte| *byte == b' ').next().unwrap();
    [cookie, b" ", text].concat().into()
}

/// Commands of one kind that were sent.
fn commands(world: &World, kind: &str) -> Vec<String> {
    let wanted = format!("7:command{}:{kind}", kind.len());
    let texts = world.asked_ng.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
    texts.filter(|text| text.contains(&wanted)).collect()
}

/// Where a message wants sound.
fn sound(message: &Msg) -> SocketAddr {
    let text = message.to_string();
    let value = |kind: &str| text.lines().rev().find_map(|line| line.strip_prefix(kind)).unwrap().to_owned();
    let port = value("m=audio ").split(' ').next().unwrap().to_owned();
    format!("{}:{port}", value("c=IN IP4 ")).parse().unwrap()
}
