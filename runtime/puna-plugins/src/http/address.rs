//! Which addresses are public. Everything of IANA's special-purpose registries (RFC 6890 and its updates) is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is reachable by everyone: neither this machine, nor a local network, nor a cloud's metadata
/// service, in whatever form it is written.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network, loopback, private, link-local (with metadata services), multicast and reserved.
        (0 | 10 | 127 | 224..=255, ..) => true,
        (100, 64..=127, _) => true, // Shared by carriers.
        (169, 254, _) | (192, 168, _) => true,
        (172, 16..=31, _) => true,
        (192, 0, 0 | 2) | (192, 88, 99) => true, // Protocols, documentation, 6to4 relays.
        (192, 31, 196) | (192, 52, 193) | (192, 175, 48) => true,
        (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => true, // Benchmarks, documentation.
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Forms that carry an IPv4 address are as public as that address.
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let last = Ipv4Addr::from((u32::from(segments[6]) << 16) | u32::from(segments[7]));
    match segments {
        // NAT64, the well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(last),
        // Only global unicast is given out; within it tunnels, documentation and protocols are set apart.
        [0x2002, high, low, ..] => is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        [0x3fff, second, ..] => second >= 0x1000,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}
