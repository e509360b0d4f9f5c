//! The dialog floor: identifiers, numbering, route sets, and what never crosses to the other leg.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use super::{Dialog, Order};
use crate::sip::{Message, Writer};

fn message(text: &str) -> Message {
    Message::parse(Bytes::from(text.replace('\n', "\r\n"))).unwrap()
}

fn invite(extra: &str) -> Message {
    message(&format!(
        "INVITE sip:911@h SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKa\nFrom: <sip:alice@h>;tag=ft\nTo: <sip:911@h>\n\
         Call-ID: c1\nCSeq: 7 INVITE\nContact: <sip:alice@127.0.0.1:5071>\n{extra}Content-Length: 0\n\n"
    ))
}

fn bye(dialog: &mut Dialog) -> String {
    let mut writer = Writer::new();
    let cseq = dialog.next_cseq();
    dialog.print_request(&mut writer, "BYE", cseq, format_args!("SIP/2.0/UDP us;branch=z9hG4bKb"));
    String::from_utf8(writer.finish().to_vec()).unwrap()
}

#[test]
fn di_2_loose_route_keeps_the_target_in_the_request_uri() {
    let mut dialog = Dialog::from_request(&invite("Record-Route: <sip:p1;lr>, <sip:p2;lr>\n"), b"ours");
    let request = bye(&mut dialog);
    assert!(request.starts_with("BYE sip:alice@127.0.0.1:5071 SIP/2.0\r\n"), "{request}");
    let first = request.find("Route: <sip:p1;lr>").unwrap();
    assert!(first < request.find("Route: <sip:p2;lr>").unwrap());
    assert_eq!(dialog.next_hop(), b"sip:p1;lr");
}

#[test]
fn di_2_strict_route_is_swapped_with_the_target() {
    let mut dialog = Dialog::from_request(&invite("Record-Route: <sip:p1>, <sip:p2;lr>\n"), b"ours");
    let request = bye(&mut dialog);
    assert!(request.starts_with("BYE sip:p1 SIP/2.0\r\n"), "{request}");
    assert!(!request.contains("Route: <sip:p1>"));
    assert!(request.find("Route: <sip:p2;lr>").unwrap() < request.find("Route: <sip:alice@127.0.0.1:5071>").unwrap());
}

#[test]
fn di_2_route_set_of_a_caller_is_reversed() {
    let mut dialog = Dialog::to_target(b"c2", b"<sip:us>;tag=l", b"l", b"<sip:911@h>", b"sip:911@h");
    dialog.next_cseq();
    dialog.establish(&message(
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP us;branch=z9hG4bKa\nRecord-Route: <sip:p2;lr>, <sip:p1;lr>\nFrom: <sip:us>;tag=l\n\
         To: <sip:911@h>;tag=r\nCall-ID: c2\nCSeq: 1 INVITE\nContact: <sip:agent@127.0.0.1:5080>\nContent-Length: 0\n\n",
    ));
    let request = bye(&mut dialog);
    assert!(request.starts_with("BYE sip:agent@127.0.0.1:5080 SIP/2.0\r\n"), "{request}");
    assert!(request.find("Route: <sip:p1;lr>").unwrap() < request.find("Route: <sip:p2;lr>").unwrap());
    assert!(request.contains("To: <sip:911@h>;tag=r\r\n") && request.contains("CSeq: 2 BYE\r\n"));
}

#[test]
fn di_4_lower_cseq_is_out_of_order() {
    let mut dialog = Dialog::from_request(&invite(""), b"ours");
    assert_eq!(dialog.advance(8), Order::InOrder);
    assert_eq!(dialog.advance(7), Order::OutOfOrder);
    assert_eq!(dialog.advance(8), Order::InOrder);
}

#[test]
fn di_3_a_target_refresh_changes_only_the_target() {
    let mut dialog = Dialog::from_request(&invite(""), b"ours");
    dialog.refresh_target(&message(
        "INVITE sip:x SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bKc\nFrom: <sip:alice@h>;tag=ft\nTo: <sip:911@h>;tag=ours\n\
         Call-ID: c1\nCSeq: 8 INVITE\nContact: <sip:alice@127.0.0.2>\nContent-Length: 0\n\n",
    ));
    assert!(bye(&mut dialog).starts_with("BYE sip:alice@127.0.0.2 SIP/2.0\r\n"));
}
