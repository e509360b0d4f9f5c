//! Loading a large configuration, and the look-ups a call makes in it.
//!
//!     cargo bench --bench config
#![allow(clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use sosbridge::config::{self, Country};
use sosbridge::geo::{Countries, Wishes};
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

const SAMPLE: &str = include_str!("../config.toml");

fn large() -> String {
    let mut text = SAMPLE.replace("+14255551000-+14255551099", "+14255551000-+14255651099");
    for at in 0..100_000 {
        write!(
            text,
            "\n[[users]]\naor = \"sip:user{at}@example.com\"\npassword = \"secret{at}\"\nresource = \"contoso\"\nnumber = \"+1206{at:07}\"\ninbound = false\ncountry = \"US\"\n"
        )
        .unwrap();
    }
    text
}

fn benches(c: &mut Criterion) {
    let text = large();
    let mut group = c.benchmark_group("config");
    group.sample_size(10);
    group.bench_function("load 100,000 users and a pool of 100,000 numbers", |b| {
        b.iter(|| config::load(black_box(&text), Path::new(".")).unwrap());
    });
    let faulty = text.replace("password", "pasword");
    group.bench_function("refuse 100,000 faulty users and show the first faults", |b| {
        b.iter(|| {
            config::render(&config::load(black_box(&faulty), Path::new(".")).unwrap_err(), "config.toml", &faulty)
        });
    });
    group.finish();
    let config = config::load(&text, Path::new(".")).unwrap().config;
    let countries = Countries::new(&config);
    let aor = "sip:user77777@example.com".parse().unwrap();
    c.bench_function("user by address of record", |b| b.iter(|| config.user(black_box(&aor))));
    let source = "127.0.0.1:5081".parse().unwrap();
    c.bench_function("trunk by source", |b| b.iter(|| config.trunk_accepting(black_box(source))));
    for uri in ["sip:911@example.com;user=phone", "sip:alice@example.com", "urn:service:sos.police"] {
        let wishes = Wishes { outside_line_prefix: Some("9"), ..Wishes::default() };
        c.bench_function(&format!("classify {uri}"), |b| {
            b.iter(|| countries.classify(black_box(uri.as_bytes()), Some(Country::US), wishes));
        });
    }
}

criterion_group!(config_benches, benches);
criterion_main!(config_benches);
