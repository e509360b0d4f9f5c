//! SPEC §5: routes, targets, failover, probes.

use sosbridge::node::Input;

use crate::world::{Agent, Dialog, Msg, Toml, UDP, World, alice, backup, psap};

/// Rules 5.3e, 5.3f.
#[test]
fn a_failure_of_any_kind_leads_to_the_next_target_at_once() {
    for code in
        [300, 302, 400, 401, 403, 404, 407, 408, 410, 480, 482, 483, 486, 488, 500, 502, 503, 504, 600, 603, 606]
    {
        let mut world = World::with_alice();
        let (_, offered) = world.dialled();
        world.send(&psap(), &psap().reply(&offered, code).without("Contact"));
        assert_eq!(world.take(&psap(), "ACK").branch(), offered.branch(), "{code}");
        assert_eq!(world.on_wire(&backup(), "INVITE").len(), 1, "{code}");
        assert_eq!(world.on_wire(&alice(), "*").len(), 0, "the caller hears nothing of it: {code}");
    }
}

/// Rule 5.3f.
#[test]
fn icmp_leads_to_the_next_target_at_once() {
    let mut world = World::with_alice();
    world.dialled();
    world.input(Input::Unreachable { listener: UDP, remote: psap().address });
    world.take(&backup(), "INVITE");
}

/// Rule 5.3d.
#[test]
fn silence_leads_to_the_next_target_after_the_wait() {
    for (wait, millis) in [("", 2_000), ("answer_wait = \"700ms\"", 700)] {
        let mut world = World::of(&Toml::default().psap(wait));
        world.register(&alice());
        world.dialled();
        world.run(millis - 1);
        world.none(&backup(), "*");
        world.run(1);
        world.take(&backup(), "INVITE");
        let second = world.node.calls_view(0).rows.remove(0);
        assert_eq!(second.trunk.as_deref(), Some("backup"));
    }
}

#[test]
fn the_second_target_carries_the_same_number() {
    let mut world = World::with_alice();
    let (_, first) = world.dialled();
    world.send(&psap(), &psap().reply(&first, 500));
    let second = world.take(&backup(), "INVITE");
    assert_eq!(second.header("P-Asserted-Identity"), first.header("P-Asserted-Identity"));
    assert_ne!(second.header("Call-ID"), first.header("Call-ID"));
    assert_eq!(second.body, first.body.replace(origin(&first), origin(&second)));
}

fn origin(message: &Msg) -> &str {
    message.body.lines().find(|line| line.starts_with("o=")).unwrap()
}

#[test]
fn a_target_that_rings_is_not_left() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 180));
    world.run(120_000);
    world.none(&backup(), "*");
    world.none(&psap(), "CANCEL");
}

/// Rules 5.3h, 9.1b.
#[test]
fn late_answer_of_an_abandoned_target() {
    let mut world = World::with_alice();
    let (invite, late) = world.dialled();
    world.run(2_000);
    let offered = world.take(&backup(), "INVITE");
    world.send(&psap(), &psap().reply(&late, 200).sdp(&psap().offer()));
    world.take_all(&psap(), "INVITE");
    assert_eq!(world.take(&psap(), "ACK").header("Call-ID"), late.header("Call-ID"));
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&bye, 200));
    world.none(&alice(), "200");
    let mut call = world.answer(&alice(), &invite, &backup(), &offered);
    world.hang_up(&mut call);
    let record = world.record();
    let told: Vec<_> = record.attempts.iter().map(|attempt| (attempt.trunk.as_str(), attempt.status)).collect();
    assert_eq!(told, [("psap", Some(408)), ("backup", Some(200))]);
}

/// Rule 5.3h.
#[test]
fn late_answer_after_the_call_is_up() {
    let mut world = World::with_alice();
    let (invite, late) = world.dialled();
    world.run(2_000);
    world.take_all(&psap(), "INVITE");
    let offered = world.take(&backup(), "INVITE");
    let mut call = world.answer(&alice(), &invite, &backup(), &offered);
    // It rings first: it is told to stop; and answers all the same.
    world.send(&psap(), &psap().reply(&late, 180));
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&late, 200).sdp(&psap().offer()));
    world.take(&psap(), "ACK");
    let bye = world.take(&psap(), "BYE");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&bye, 200));
    world.silent();
    world.hang_up(&mut call);
}

/// Rules 5.4a, 5.4b.
#[test]
fn all_trunks_fail_round_after_round_then_503() {
    let mut world = World::with_alice();
    let invite = world.dial(&alice(), "sip:911@example.com");
    let mut rounds = Vec::new();
    while world.clock() < 60_000 && world.on_wire(&alice(), "503").is_empty() {
        let began = world.clock();
        for trunk in [psap(), backup()] {
            for offered in world.take_all(&trunk, "INVITE") {
                rounds.push((trunk.name, began / 1000));
                world.send(&trunk, &trunk.reply(&offered.msg, 503));
            }
        }
        world.run(100);
    }
    // Pauses of 1, 2, 4, 4, ... seconds; no new round after 30 s.
    let at: Vec<u64> = rounds.iter().filter(|(name, _)| *name == "psap").map(|(_, at)| *at).collect();
    assert_eq!(at.len(), rounds.iter().filter(|(name, _)| *name == "backup").count(), "{rounds:?}");
    assert_eq!(at[..4], [0, 1, 3, 7], "{rounds:?}");
    assert!(*at.last().unwrap() <= 30 && at.len() >= 8, "{rounds:?}");
    let refused = world.take(&alice(), "503");
    assert_eq!(refused.header("Retry-After"), "5");
    assert!(refused.header("Warning").contains("No trunk took the call"), "{refused}");
    assert!(refused.header("Reason").contains("503"), "{refused}");
    world.send(&alice(), &invite.ack_of(&refused));
    world.over();
    assert_eq!(world.record().outcome.as_str(), "failed");
    // The number may have been seen.
    assert_eq!(world.node.leases_view(0).rows.len(), 1);
}

/// Rule 5.4a.
#[test]
fn a_trunk_that_comes_back_in_a_later_round() {
    let mut world = World::with_alice();
    let (invite, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 503));
    let offered = world.take(&backup(), "INVITE");
    world.send(&backup(), &backup().reply(&offered, 503));
    world.run(1_000);
    let waiting = world.take_all(&psap(), "INVITE").pop().or_else(|| world.take_all(&backup(), "INVITE").pop());
    let again = waiting.expect("another round");
    let trunk = if again.to == psap().address { psap() } else { backup() };
    world.wire.clear();
    let mut call = world.answer(&alice(), &invite, &trunk, &again.msg);
    world.hang_up(&mut call);
}

/// Rule 5.3b.
#[test]
fn priority_and_state_order_the_targets() {
    let targets = "targets = [{ uri = \"sip:203.0.113.83:5080\", priority = 2 }, { uri = \"sip:203.0.113.80:5080\", priority = 1 }]";
    let toml = Toml::default().change("targets = [{ uri = \"sip:203.0.113.80:5080\" }]", targets);
    let (second, mut world) = (Agent::new("second", "203.0.113.83:5080"), World::of(&toml));
    world.register(&alice());
    let (_, offered) = world.dialled();
    world.none(&second, "INVITE");
    world.send(&psap(), &psap().reply(&offered, 503));
    world.take(&second, "INVITE");
    // The next call begins with one that is not known to be down.
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    world.none(&psap(), "INVITE");
    world.take(&second, "INVITE");
}

/// Answers every probe; `up` says which trunk answers well.
fn answer_probes(world: &mut World, up: &[Agent], down: &[Agent]) {
    for agent in up {
        for probe in world.take_all(agent, "OPTIONS") {
            world.send(agent, &agent.reply(&probe.msg, 200));
        }
    }
    for agent in down {
        for probe in world.take_all(agent, "OPTIONS") {
            world.send(agent, &agent.reply(&probe.msg, 503));
        }
    }
}

/// Rules 5.3i, 5.3j.
#[test]
fn probes_reorder_and_never_remove() {
    let toml = Toml(Toml::default().0.replace("options_interval = \"0s\"", "options_interval = \"10s\""));
    let mut world = World::of(&toml);
    world.register(&alice());
    world.run(1);
    let probe = world.on_wire(&psap(), "OPTIONS")[0].msg.clone();
    assert_eq!((probe.uri(), probe.header("Max-Forwards")), ("sip:203.0.113.80:5080", "70"));
    answer_probes(&mut world, &[backup()], &[psap()]);
    let states: Vec<_> = world.node.trunks_view().iter().map(|trunk| trunk.targets[0].state).collect();
    assert_eq!(states[..2], [sosbridge::admin::TargetState::Down, sosbridge::admin::TargetState::Up]);
    // The one that is up goes first, whatever the route says.
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    world.none(&psap(), "INVITE");
    let offered = world.take(&backup(), "INVITE");
    // The one that is down is still there.
    world.send(&backup(), &backup().reply(&offered, 500));
    let offered = world.take(&psap(), "INVITE");
    world.send(&psap(), &psap().reply(&offered, 486));
    // It answers again: first again.
    for _ in 0..12 {
        world.run(1_000);
        answer_probes(&mut world, &[psap(), backup()], &[]);
    }
    world.wire.clear();
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    world.take(&psap(), "INVITE");
}

/// Rule 5.3j.
#[test]
fn a_target_that_stays_silent_is_down_and_still_tried() {
    let toml = Toml::one_trunk().psap("").change("options_interval = \"0s\"", "options_interval = \"10s\"");
    let mut world = World::of(&toml);
    world.register(&alice());
    world.run(40_000);
    assert_eq!(world.node.trunks_view()[0].targets[0].state, sosbridge::admin::TargetState::Down);
    world.wire.clear();
    world.send(&alice(), &alice().invite("sip:911@example.com"));
    world.take(&psap(), "INVITE");
}

#[test]
fn reload_during_a_failover() {
    let mut world = World::with_alice();
    let (_, offered) = world.dialled();
    // The target is gone from the new configuration, its answer still counts.
    let toml = Toml::default().change("sip:203.0.113.80:5080", "sip:203.0.113.89:5080");
    world.reload(&toml);
    world.send(&psap(), &psap().reply(&offered, 180));
    world.take(&alice(), "180");
    let answer = psap().reply(&offered, 200).sdp(&psap().offer());
    world.send(&psap(), &answer);
    let ok = world.take(&alice(), "200");
    assert!(ok.body.contains("m=audio"));
    world.take(&psap(), "ACK");
    let bye = Dialog::callee(psap(), &offered, &answer).request("BYE");
    assert_eq!(world.ask(&psap(), &bye).code(), 200);
}

#[test]
fn section_5_a_trunk_that_says_100_and_nothing_more_costs_one_call_its_wait_and_not_the_next() {
    let toml = Toml::one_trunk().change("trunks = [\"psap\"]", "trunks = [\"psap\", \"backup\"]");
    let mut world = World::of(&toml.change("options_interval = \"0s\"\n# psap", "options_interval = \"30s\"\n# psap"));
    world.register(&alice());
    // It answers every OPTIONS all the while.
    let run = |world: &mut World, seconds: u64| {
        for _ in 0..seconds {
            answer_probes(world, &[psap()], &[]);
            world.run(1_000);
        }
    };
    let ends = |world: &mut World, mut call: crate::world::Call| {
        let bye = call.phone.request("BYE");
        assert_eq!(world.ask(&alice(), &bye).code(), 200);
        let bye = world.take(&backup(), "BYE");
        world.send(&backup(), &backup().reply(&bye, 200));
        run(world, 70);
        world.wire.clear();
    };
    run(&mut world, 1);
    let (invite, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 100));
    run(&mut world, 19);
    world.none(&backup(), "INVITE");
    run(&mut world, 2);
    let second = world.take(&backup(), "INVITE");
    let cancel = world.take(&psap(), "CANCEL");
    world.send(&psap(), &psap().reply(&cancel, 200));
    world.send(&psap(), &psap().reply(&offered, 487));
    let call = world.answer(&alice(), &invite, &backup(), &second);
    world.wire.clear();
    ends(&mut world, call);
    // The next ones go where calls get on.
    for _ in 0..2 {
        let invite = world.dial(&alice(), "sip:911@example.com");
        world.none(&psap(), "INVITE");
        let offered = world.take(&backup(), "INVITE");
        let call = world.answer(&alice(), &invite, &backup(), &offered);
        ends(&mut world, call);
    }
    let target = world.node.trunks_view().remove(0).targets.remove(0);
    assert_eq!(target.state, sosbridge::admin::TargetState::Up, "it answers");
    assert!(target.last_error.unwrap().contains("nothing more than 100"));
    run(&mut world, 300);
    assert_eq!(world.node.trunks_view()[0].targets[0].last_error, None);
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 180));
    world.take(&alice(), "180");
}
