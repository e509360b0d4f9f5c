//! The few messages these tests need.

pub fn options(via: &str, number: u32) -> String {
    format!(
        "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/{via} client.invalid;branch=z9hG4bK-o{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:probe@example.com>;tag=o{number}\r\nTo: <sip:example.com>\r\n\
         Call-ID: o{number}@client.invalid\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

pub fn invite(via: &str, uri: &str, number: u32) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/{via} client.invalid;branch=z9hG4bK-i{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+12065550199@carrier.example>;tag=i{number}\r\nTo: <{uri}>\r\n\
         Contact: <sip:carrier.invalid;transport=tls>\r\nCall-ID: i{number}@client.invalid\r\nCSeq: 1 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A REGISTER of alice; with credentials for `challenge`, the 401 to an earlier one.
pub fn register(via: &str, contact: &str, challenge: Option<&str>) -> String {
    let cseq = if challenge.is_some() { 2 } else { 1 };
    let authorization = challenge.map_or(String::new(), |challenge| {
        let offer = header(challenge, "WWW-Authenticate").expect("a challenge");
        let method = digest_auth::HttpMethod::from("REGISTER");
        let (user, password) = ("alice", "wonderland");
        let context =
            digest_auth::AuthContext::new_with_method(user, password, "sip:example.com", None::<&[u8]>, method);
        let answer = digest_auth::parse(&offer).unwrap().respond(&context).unwrap();
        format!("Authorization: {answer}\r\n")
    });
    format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/{via} client.invalid;branch=z9hG4bK-r{cseq};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=reg\r\nTo: <sip:alice@example.com>\r\n\
         Contact: {contact}\r\nCall-ID: r@client.invalid\r\nCSeq: {cseq} REGISTER\r\nExpires: 600\r\n\
         {authorization}Content-Length: 0\r\n\r\n"
    )
}

/// 200 to a request, as a trunk says it.
pub fn ok(request: &str) -> String {
    let copied: String = ["Via", "From", "To", "Call-ID", "CSeq"]
        .iter()
        .map(|name| format!("{name}: {}\r\n", header(request, name).unwrap()))
        .collect();
    format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n")
}

pub fn header(message: &str, name: &str) -> Option<String> {
    let prefix = format!("{name}: ");
    message.lines().find_map(|line| line.strip_prefix(&prefix)).map(|value| value.trim().to_owned())
}

pub fn code(message: &str) -> u16 {
    message.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}
