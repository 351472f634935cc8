use std::{
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

/// Most addresses in a list, so that a mistyped range does not fill the memory.
const SOURCES_MAX: usize = 65_536;

/// Addresses to connect from, in turn: `10.0.0.2,10.0.0.9-10.0.0.40`. Without any the system chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(Vec<IpAddr>);

impl Sources {
    /// That of a client by its number.
    pub fn of(&self, number: usize) -> Option<IpAddr> {
        (!self.0.is_empty()).then(|| self.0[number % self.0.len()])
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut addresses = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => addresses.push(part.parse().map_err(|_| format!("{part} is no address"))?),
                Some((first, last)) => {
                    let number = |text: &str| {
                        text.parse().map(Ipv4Addr::to_bits).map_err(|_| format!("{text} is no IPv4 address"))
                    };
                    let (first, last) = (number(first)?, number(last)?);
                    if last < first || (last - first) as usize >= SOURCES_MAX {
                        return Err(format!("expected a range of 1 to {SOURCES_MAX} addresses"));
                    }
                    addresses.extend((first..=last).map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))));
                }
            }
            if addresses.len() > SOURCES_MAX {
                return Err(format!("expected at most {SOURCES_MAX} addresses"));
            }
        }
        Ok(Self(addresses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        let sources: Sources = "127.0.0.2-127.0.0.4,::1".parse().unwrap();
        let of = |number| sources.of(number).unwrap().to_string();
        assert_eq!([of(0), of(2), of(3), of(4)], ["127.0.0.2", "127.0.0.4", "::1", "127.0.0.2"]);
        assert_eq!(Sources::default().of(7), None);
        for text in ["", "a", "127.0.0.4-127.0.0.2", "::1-::5", "1.0.0.0-9.0.0.0"] {
            assert!(text.parse::<Sources>().is_err(), "{text}");
        }
    }
}
