//! Which node of a Redis Cluster has a key: 16,384 slots by CRC16 of the key's hash tag
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model>).

use super::{
    address::Address,
    wire::{Replies, Reply},
};
use crate::limits;

/// Slots of a cluster.
pub(super) const SLOTS: usize = 16_384;

/// Who has which slots, as a node told it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// First and last slot, and the place of the primary in `primaries`.
    pub(super) ranges: Vec<(u16, u16, usize)>,
    pub(super) primaries: Vec<Address>,
    pub(super) replicas: Vec<Address>,
}

/// The slot of a key.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    crc16(tag_of(key)) % SLOTS as u16
}

/// What stands between the first `{` and the next `}`, if anything does; else all of it.
fn tag_of(key: &[u8]) -> &[u8] {
    let Some(from) = key.iter().position(|byte| *byte == b'{') else { return key };
    let rest = &key[from + 1..];
    match rest.iter().position(|byte| *byte == b'}') {
        Some(length @ 1..) => &rest[..length],
        _ => key,
    }
}

/// CRC16 as XMODEM has it: polynomial 0x1021, beginning with 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Reads the answer to `CLUSTER SLOTS` of the node at `asked`. `None` if it is none.
pub(super) fn read(answer: Reply<'_>, asked: &Address) -> Option<Told> {
    let Reply::Array(ranges) = answer else { return None };
    let mut told = Told::default();
    for range in ranges.take(SLOTS) {
        let Reply::Array(mut parts) = range else { return None };
        let (Some(Reply::Int(first)), Some(Reply::Int(last))) = (parts.next(), parts.next()) else { return None };
        let slot = |number: i64| u16::try_from(number).ok().filter(|slot| usize::from(*slot) < SLOTS);
        let mut nodes = parts.map(|node| match node {
            Reply::Array(node) => address_of(node, asked),
            _ => None,
        });
        let primary = place_in(&mut told.primaries, nodes.next()??);
        told.ranges.push((slot(first)?, slot(last)?, primary));
        for replica in nodes {
            place_in(&mut told.replicas, replica?);
        }
    }
    (told.primaries.len() + told.replicas.len() <= limits::REDIS_NODES_MAX).then_some(told)
}

/// A node that does not know its own host is where it was asked.
fn address_of(mut node: Replies<'_>, asked: &Address) -> Option<Address> {
    let host = match node.next()? {
        Reply::Bulk(b"" | b"?") | Reply::Nil => asked.host.clone(),
        Reply::Bulk(host) => String::from_utf8(host.to_vec()).ok()?,
        _ => return None,
    };
    let Reply::Int(port) = node.next()? else { return None };
    Some(Address { host, port: u16::try_from(port).ok()? })
}

fn place_in(addresses: &mut Vec<Address>, address: Address) -> usize {
    addresses.iter().position(|known| *known == address).unwrap_or_else(|| {
        addresses.push(address);
        addresses.len() - 1
    })
}

/// Where a node says that a key is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// The slot has moved there.
    Moved(u16, Address),
    /// This one key is there already.
    Asked(Address),
    /// Some of the keys are here and some there: all will be there soon.
    Moving,
}

/// Reads an error of the node at `asked`: `MOVED slot host:port`, `ASK slot host:port`, `TRYAGAIN …`; `None` if it is another.
pub(super) fn elsewhere(text: &[u8], asked: &Address) -> Option<Elsewhere> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let code = words.next()?;
    if code == "TRYAGAIN" {
        return Some(Elsewhere::Moving);
    }
    if !matches!(code, "MOVED" | "ASK") {
        return None;
    }
    let slot = words.next()?.parse().ok().filter(|slot| usize::from(*slot) < SLOTS)?;
    let place = words.next()?;
    let address = match place.strip_prefix(':') {
        // An IPv6 address may begin so as well.
        Some(port) if !port.contains(':') => Address { host: asked.host.clone(), port: port.parse().ok()? },
        _ => Address::parse(place)?,
    };
    Some(if code == "MOVED" { Elsewhere::Moved(slot, address) } else { Elsewhere::Asked(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        Address { host: "h".into(), port }
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in [("foo", 12_182), ("somekey", 11_058), ("foo{hash_tag}", 2_515), ("bar{hash_tag}", 2_515)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(tag_of(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(tag_of(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(tag_of(b"foo{bar}{zap}"), b"bar");
    }

    #[test]
    fn a_table_of_slots_is_read() {
        let text = "*2\r\n*4\r\n:0\r\n:8191\r\n*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n*3\r\n$0\r\n\r\n:2\r\n$2\r\nid\r\n\
                    *3\r\n:8192\r\n:16383\r\n*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n";
        let told = read(Replies::of(text.as_bytes(), 1).next().unwrap(), &at(9)).unwrap();
        let a = Address { host: "a".into(), port: 1 };
        assert_eq!(
            told,
            Told { ranges: vec![(0, 8_191, 0), (8_192, 16_383, 0)], primaries: vec![a], replicas: vec![at(2)] }
        );
        for wrong in [
            "+OK\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
            "*1\r\n*2\r\n:0\r\n:1\r\n",
        ] {
            assert_eq!(read(Replies::of(wrong.as_bytes(), 1).next().unwrap(), &at(9)), None, "{wrong}");
        }
    }

    #[test]
    fn errors_say_where_a_key_is() {
        let read = |text: &str| elsewhere(text.as_bytes(), &at(1));
        assert_eq!(read("MOVED 7 a:2"), Some(Elsewhere::Moved(7, Address { host: "a".into(), port: 2 })));
        assert_eq!(read("MOVED 7 :2"), Some(Elsewhere::Moved(7, at(2))));
        assert_eq!(read("ASK 7 ::1:2"), Some(Elsewhere::Asked(Address { host: "::1".into(), port: 2 })));
        assert_eq!(read("TRYAGAIN Multiple keys request during rehashing of slot"), Some(Elsewhere::Moving));
        for other in ["CLUSTERDOWN The cluster is down", "MOVED 16384 a:2", "MOVED", "", "ERR MOVED 7 a:2"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
