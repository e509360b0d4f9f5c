//! What trunks are told of a call: addresses of users, priorities, identifiers.

use super::*;

fn located(location: &str) -> String {
    BASE.replacen("[[pools]]", &format!("country = \"us\"\nlocation = {location}\n[[pools]]"), 1)
}

fn elements(location: &str) -> Vec<(&'static str, String)> {
    let config = good(&located(location)).config;
    let civic = config.users[0].location.clone().expect("an address");
    civic.elements.iter().map(|(name, value)| (*name, value.to_string())).collect()
}

#[test]
fn an_address_has_the_elements_of_the_schema_in_its_order() {
    let address = r#"{ pc = "98052", rd = "  One   Microsoft ", country = "us", a1 = "WA", hno = "1 & <\"'>" }"#;
    let expected = [("country", "US"), ("A1", "WA"), ("RD", "One Microsoft"), ("HNO", "1 & <\"'>"), ("PC", "98052")];
    assert_eq!(elements(address), expected.map(|(name, value)| (name, value.to_owned())));
    // The country of the user stands in for one that is left out.
    assert_eq!(elements(r#"{ a1 = "WA" }"#)[0], ("country", "US".to_owned()));
    assert_eq!(elements(r#"{ a1 = "WA", country = "CA" }"#)[0], ("country", "CA".to_owned()));
    assert!(good(&located("{}")).config.users[0].location.is_none());
    let tagged = good(&located(r#"{ a3 = "Zürich", lang = "de-CH" }"#)).config;
    assert_eq!(tagged.users[0].location.as_ref().unwrap().lang.as_deref(), Some("de-CH"));
    let longest = "ü".repeat(127);
    assert_eq!(elements(&format!("{{ nam = \"{longest}\" }}"))[1].1, longest);
}

#[test]
fn an_address_that_cannot_be_sent_is_refused_by_its_key() {
    let long = format!("{{ nam = \"{}\" }}", "x".repeat(10_000));
    for (address, expected) in [
        (r#"{ country = "USA" }"#, "`users[0].location.country` is not a country"),
        (r#"{ a1 = "W\u0007A" }"#, "`users[0].location.a1` holds characters"),
        (r#"{ a1 = "W\nA" }"#, "`users[0].location.a1` holds characters"),
        (r#"{ a1 = "W\u0085A" }"#, "`users[0].location.a1` holds characters"),
        (r#"{ a1 = "W\uFFFEA" }"#, "`users[0].location.a1` holds characters"),
        (r#"{ a1 = "   " }"#, "`users[0].location.a1` is blank"),
        (long.as_str(), "`users[0].location.nam` is longer than 255 bytes"),
        (r#"{ street = "x" }"#, "`users[0].location.street` is not a known key"),
        (r#"{ a1 = 1 }"#, "`users[0].location.a1` is an integer, and must be a string"),
        (r#"{ lang = "e n" }"#, "`users[0].location.lang` is not a language tag"),
        (r#""here""#, "`users[0].location` is a string, and must be a table"),
    ] {
        let problems = bad(&located(address));
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{address}: {problems:?}");
    }
}

#[test]
fn values_that_would_break_a_header_are_refused() {
    let trunk = |line: &str| BASE.replacen("name = \"center\"", &format!("name = \"center\"\n{line}"), 1);
    let resource = |line: &str| BASE.replacen("name = \"contoso\"", &format!("name = \"contoso\"\n{line}"), 1);
    for (text, expected) in [
        (trunk("resource_priority = \"esnet\""), "is not namespace.priority (RFC 4412)"),
        (trunk("resource_priority = \"esnet.1.2\""), "is not namespace.priority (RFC 4412)"),
        (trunk("resource_priority = \"esnet.1,\""), "is not namespace.priority (RFC 4412)"),
        (trunk("resource_priority = \"es net.1\""), "is not namespace.priority (RFC 4412)"),
        (trunk("resource_priority = \"esnet.5\""), "is no priority of esnet"),
        (trunk("location = \"always\""), "`trunks[0].location` is \"always\", and must be one of: pass, add"),
        (resource("provider_info = \"http://h/x\""), "`resources[0].provider_info` is not a web address over TLS"),
        (
            resource("provider_info = \"https://h/x>;a=b\""),
            "`resources[0].provider_info` is not a web address over TLS",
        ),
        (format!("{BASE}[node]\nelement = \"192.0.2.1\"\n"), "`node.element` is an address, and must be a name"),
        (format!("{BASE}[node]\nelement = \"a b\"\n"), "`node.element` is not a host"),
    ] {
        let problems = bad(&text);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:?}");
    }
    assert!(good(&trunk("resource_priority = \"esnet.1, ets.0\"")).warnings.is_empty());
    assert!(good(&trunk("resource_priority = \"\"")).config.trunks[0].resource_priority.is_none());
}

#[test]
fn what_is_configured_and_never_sent_is_a_warning() {
    let warns = |text: &str| lines(&good(text).warnings, text).join("\n");
    let unsent = located(r#"{ a1 = "WA" }"#);
    assert!(warns(&unsent).contains("no trunk wants it"), "{}", warns(&unsent));
    assert_eq!(warns(&unsent.replacen("name = \"center\"", "name = \"center\"\nlocation = \"add\"", 1)), "");
    let unnamed = BASE.replacen("name = \"center\"", "name = \"center\"\nadd_nena_ids = true", 1);
    assert!(warns(&unnamed).contains("an address stands there"), "{}", warns(&unnamed));
    assert_eq!(warns(&format!("{unnamed}[node]\nelement = \"sos.example.net\"\n")), "");
}

#[test]
fn a_desk_that_could_never_be_rung_is_warned_of() {
    let warned = |desk: &str| {
        let text = format!("{BASE}\n[callback]\ndesk = {desk:?}\n");
        lines(&good(&text).warnings, &text).iter().any(|line| line.contains("a callback that reaches nobody ends"))
    };
    assert!(warned("+14255550190"));
    assert!(warned("sip:desk@reception.invalid"));
    assert!(!warned("sip:desk@192.0.2.1"));
}
