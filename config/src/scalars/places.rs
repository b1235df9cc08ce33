//! Which words say where something is? Networks and localities.

use std::fmt;
use std::net::IpAddr;

use super::{Malformed, Scalar, malformed};
use crate::model::{Locality, Network};

impl Scalar for Network {
    const WHAT: &'static str = "addresses such as `10.0.1.0/24` or `10.0.1.7`";
    const PATTERN: &'static str = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let wrong = |help| malformed::<Self>(text, help);
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr =
            address.parse().map_err(|_| wrong("an IP address, with or without a prefix"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok().filter(|&n| n <= most));
        let prefix = prefix.ok_or_else(|| wrong("a prefix has at most as many bits as an address"))?;
        let network = Self { address, prefix };
        let first = network.first();
        if first != address {
            let message = format!("`{text}` has bits below its prefix");
            return Err(Malformed::new(message, format!("did you mean `{first}/{prefix}`?")));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Scalar for Locality {
    const WHAT: &'static str = "a locality such as `eu-central-1/b`";
    const PATTERN: &'static str = "^[A-Za-z0-9._-]{1,63}(/[A-Za-z0-9._-]{1,63})?$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let part = |part: &str| {
            let inner = part.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
            inner && (1..=63).contains(&part.len())
        };
        if text.split('/').count() > 2 || !text.split('/').all(part) {
            return Err(malformed::<Self>(text, "a region, or a region and a zone with `/` between them"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
