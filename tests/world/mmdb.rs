//! Small databases in MaxMind's format, written for a test (MaxMind DB file format 2.0): a tree of IPv6 bits with IPv4 below ::/96.

use std::net::IpAddr;

use ipnet::IpNet;

/// What a network has in a database: a country in one of the shapes that are around.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// `{"country": {"iso_code": "US"}}`
    MaxMind,
    /// `{"country_code": "US"}`
    Flat,
    /// `{"country": "US"}`
    Plain,
}

/// A database of these networks.
pub fn write(shape: Shape, networks: &[(&str, &str)]) -> Vec<u8> {
    const NOTHING: usize = usize::MAX;
    const DATA: usize = 1 << 32;
    let mut nodes: Vec<[usize; 2]> = vec![[NOTHING; 2]];
    let mut data = Vec::new();
    for (network, code) in networks {
        let network: IpNet = network.parse().unwrap();
        let (bits, length) = match network.addr() {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 96 + u32::from(network.prefix_len())),
            IpAddr::V6(address) => (u128::from(address), u32::from(network.prefix_len())),
        };
        let at = DATA + data.len();
        record(shape, code, &mut data);
        let mut node = 0;
        for depth in 0..length {
            let bit = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                nodes[node][bit] = at;
            } else {
                if nodes[node][bit] == NOTHING {
                    nodes.push([NOTHING; 2]);
                    nodes[node][bit] = nodes.len() - 1;
                }
                node = nodes[node][bit];
            }
        }
    }
    let count = nodes.len();
    let mut file = Vec::new();
    for side in nodes.into_iter().flatten() {
        let value = match side {
            NOTHING => count,
            data if data >= DATA => count + 16 + data - DATA,
            node => node,
        };
        file.extend_from_slice(&u32::try_from(value).unwrap().to_be_bytes()[1..]);
    }
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    metadata(u32::try_from(count).unwrap(), &mut file);
    file
}

fn record(shape: Shape, code: &str, data: &mut Vec<u8>) {
    map(1, data);
    match shape {
        Shape::MaxMind => {
            text("country", data);
            map(1, data);
            text("iso_code", data);
        }
        Shape::Flat => text("country_code", data),
        Shape::Plain => text("country", data),
    }
    text(code, data);
}

fn metadata(nodes: u32, file: &mut Vec<u8>) {
    map(9, file);
    for (key, value) in
        [("binary_format_major_version", 2), ("binary_format_minor_version", 0), ("ip_version", 6), ("record_size", 24)]
    {
        text(key, file);
        file.extend_from_slice(&[0b101 << 5 | 1, value]);
    }
    text("node_count", file);
    file.push(0b110 << 5 | 4);
    file.extend_from_slice(&nodes.to_be_bytes());
    text("build_epoch", file);
    // An extended type: 64 bits, of which eight are given.
    file.extend_from_slice(&[8, 2]);
    file.extend_from_slice(&1_700_000_000_u64.to_be_bytes());
    text("database_type", file);
    text("Test", file);
    text("languages", file);
    file.extend_from_slice(&[0, 4]);
    text("description", file);
    map(0, file);
}

fn map(pairs: u8, data: &mut Vec<u8>) {
    data.push(0b111 << 5 | pairs);
}

fn text(text: &str, data: &mut Vec<u8>) {
    data.push(0b010 << 5 | u8::try_from(text.len()).unwrap());
    data.extend_from_slice(text.as_bytes());
}
