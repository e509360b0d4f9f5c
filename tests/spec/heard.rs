//! SPEC §9: how the packets of a call fare, as `calls` and records tell.

use sosbridge::media::{Counters, Kind, News};
use sosbridge::node::Input;

use crate::media::ports;
use crate::world::agent::MEDIA;
use crate::world::{Toml, World, alice, description, psap};

fn world() -> World {
    let mut world = World::of(&Toml::default().relay());
    world.register(&alice());
    world
}

fn counted(world: &mut World, port: u16, counters: Counters) {
    let pair = world.plane.at(port).ports.pair;
    world.input(Input::Media(News::Counted(vec![(pair, counters)])));
}

/// SPEC §9: packets are shown in `calls` and kept in records; silence is told once and ends nothing.
#[test]
fn what_arrives_is_shown_and_silence_ends_nothing() {
    let mut world = world();
    let mut call = world.talking();
    let (to_trunk, to_phone) = (ports(&call.offered)[0], ports(&call.ok)[0]);
    world.run(150_000);
    let heard = Counters {
        packets: 500,
        bytes: 86_000,
        lost: 3,
        jitter: 160,
        reported_lost: Some(64),
        reported_jitter: Some(80),
        silent: std::time::Duration::from_secs(2),
        ..Counters::default()
    };
    counted(&mut world, to_phone, heard);
    counted(&mut world, to_trunk, Counters { silent: std::time::Duration::from_secs(140), ..Counters::default() });
    let media = world.node.calls_view(0).rows[0].media.clone();
    let shown: Vec<_> = media.iter().map(|row| (row.leg.as_str(), row.packets, row.silent_s)).collect();
    assert_eq!(shown, [("caller", 500, 2), ("called", 0, 140)]);
    let first = &media[0];
    assert_eq!(
        (first.lost, first.jitter_ms, first.reported_lost, first.reported_jitter_ms),
        (3, 20, Some(25), Some(10))
    );
    assert_eq!(world.node.sizes().0, 1);
    world.hang_up(&mut call);
    assert_eq!(world.record().call.media.len(), 2);
    assert_eq!(world.record().call.media[0].packets, 500);
}

/// CONFORMANCE ST-3: a call is up while somebody is heard, though neither side answers any more.
#[test]
fn st_3_an_emergency_call_stays_up_while_packets_flow() {
    for flows in [true, false] {
        let mut world = world();
        let call = world.talking();
        let to_phone = ports(&call.ok)[0];
        for _ in 0..200 {
            world.run(10_000);
            if flows {
                let silent = std::time::Duration::from_millis(20);
                let heard = Counters { packets: 500, silent, ..Counters::default() };
                if world.node.sizes().0 > 0 {
                    counted(&mut world, to_phone, heard);
                }
            }
        }
        assert_eq!(world.node.sizes().0, usize::from(flows), "flows: {flows}");
        assert_eq!(world.node.ports_in_use(), 2 * usize::from(flows));
    }
}

/// A picture that was sent for a while, and sound from the network before, were heard all the same.
#[test]
fn what_was_heard_of_a_stream_that_is_gone_is_still_told() {
    let mut world = World::of(&Toml::dual().relay());
    world.register(&alice());
    let mut call = world.talking();
    let (audio, video) = ("m=audio 6000 RTP/AVP 0", "m=video 6002 RTP/AVP 31");
    let mut reoffer = |world: &mut World, version: u32, video: &str, is_moved: bool| {
        let own = description("alice", version, &[audio, video]);
        let own = if is_moved { own.replace("IN IP4", "IN IP6").replace(MEDIA, "2001:db8:71::1") } else { own };
        world.send(&alice(), &call.phone.request("INVITE").sdp(&own));
        let carried = world.take(&psap(), "INVITE");
        world.send(&psap(), &psap().reply(&carried, 200).sdp(&description("psap", version, &[audio, video])));
        let ok = world.take(&alice(), "200 INVITE");
        world.send(&alice(), &call.phone.request("ACK"));
        world.take(&psap(), "ACK");
        let port = |line: &str| line.strip_prefix("m=")?.split(' ').nth(1)?.parse().ok();
        ok.body.lines().filter_map(port).collect::<Vec<u16>>()
    };
    let first = reoffer(&mut world, 2, video, false);
    for (port, packets) in [(first[0], 500), (first[1], 700)] {
        counted(&mut world, port, Counters { packets, ..Counters::default() });
    }
    reoffer(&mut world, 3, "m=video 0 RTP/AVP 31", false);
    let moved = reoffer(&mut world, 4, "m=video 0 RTP/AVP 31", true);
    assert_ne!(first[0], moved[0]);
    counted(&mut world, moved[0], Counters { packets: 900, ..Counters::default() });
    let heard = |rows: &[sosbridge::admin::MediaView]| {
        let of_phone = rows.iter().filter(|row| row.leg.as_str() == "caller");
        of_phone.map(|row| (row.kind, row.packets)).collect::<Vec<_>>()
    };
    let expected = [(Kind::Video, 700), (Kind::Audio, 500), (Kind::Audio, 900)];
    assert_eq!(heard(&world.node.calls_view(0).rows[0].media), expected);
    world.take_all(&alice(), "100");
    world.hang_up(&mut call);
    assert_eq!(heard(&world.record().call.media), expected);
}
