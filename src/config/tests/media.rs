//! Where the relay is, as the configuration says or leaves it to be found out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::{BASE, bad_with, good, lines};

#[test]
fn the_relay_is_where_it_can_be_reached() {
    let at = |listen: &str, media: &str| {
        let text = BASE.replace("address = \"127.0.0.1:0\"", listen) + media;
        let loaded = good(&text);
        let told: Vec<String> = loaded.config.media.addresses.iter().map(ToString::to_string).collect();
        (told.join(" "), lines(&loaded.warnings, "").len())
    };
    let v6 = "address = \"192.0.2.1:0\"\n[[sip.listen]]\ntransport = \"udp\"\naddress = \"[2001:db8::1]:5060\"";
    let cases = [
        ("address = \"127.0.0.1:0\"", "", "127.0.0.1", 0),
        ("address = \"192.0.2.1:0\"", "", "192.0.2.1", 0),
        ("address = \"10.0.0.1:0\"\nadvertise = \"192.0.2.1\"", "", "192.0.2.1", 0),
        ("address = \"0.0.0.0:0\"\nadvertise = \"192.0.2.1\"", "", "192.0.2.1", 0),
        ("address = \"0.0.0.0:0\"\nadvertise = \"sip.example.com\"", "", "127.0.0.1", 1),
        ("address = \"0.0.0.0:0\"\nadvertise = \"sip.example.com\"", "[media]\nmode = \"pass\"", "127.0.0.1", 0),
        (v6, "", "192.0.2.1 2001:db8::1", 0),
        (v6, "[media]\naddress = \"192.0.2.7\"", "192.0.2.7", 1),
        (v6, "[media]\naddress = [\"2001:db8::7\", \"192.0.2.7\"]", "2001:db8::7 192.0.2.7", 0),
    ];
    for (listen, media, told, warnings) in cases {
        assert_eq!(at(listen, media), (told.to_owned(), warnings), "{listen} {media}");
    }
    for (bad, why) in [
        ("[media]\naddress = [\"192.0.2.1\", \"192.0.2.2\"]\n", "second address of its family"),
        ("[media]\naddress = \"0.0.0.0\"\n", "not an address that media can be sent to"),
        ("[media]\naddress = \"media.example\"\n", "not an IP address"),
    ] {
        let found = bad_with(bad).join("\n");
        assert!(found.contains(why), "{found}");
    }
}

#[test]
fn browsers_are_mute_without_rtpengine_and_check_says_so() {
    let web = "address = \"127.0.0.1:0\"\n[[sip.listen]]\ntransport = \"ws\"\naddress = \"127.0.0.1:8088\"";
    let warned = |listen: &str, media: &str| {
        let text = BASE.replacen("address = \"127.0.0.1:0\"", listen, 1) + media;
        lines(&good(&text).warnings, &text).iter().filter(|line| line.contains("cannot convert")).count()
    };
    assert_eq!(warned(web, ""), 1);
    assert_eq!(warned("address = \"127.0.0.1:0\"", ""), 0);
    for mode in ["rtpengine", "pass"] {
        assert_eq!(warned(web, &format!("[media]\nmode = {mode:?}\n")), 0);
    }
}
