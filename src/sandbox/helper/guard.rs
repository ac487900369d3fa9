//! The packet filter of a sandbox's network: what it may reach.
//!
//! Enter at [`rules`], a pure function. The rules are loaded before anything untrusted is in the namespace, and the
//! guest, which has no capability there, cannot touch them.

use super::refusal::Refusal;
use crate::Egress;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// Where a sandbox sends its DNS questions; pasta passes them to the machine's resolver. An address of the benchmark
/// range (RFC 2544), which no real network uses.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 53);

/// Networks that are nobody's business: this network, private (RFC 1918), carrier-grade NAT (RFC 6598), loopback,
/// link-local with the clouds' metadata services, protocol assignments, benchmarks, multicast, reserved.
const CLOSED_V4: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, \
    192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/4, 240.0.0.0/4";

/// The same for IPv6, with everything that embeds an IPv4 address (mapped, translated, 6to4, Teredo), since it could
/// embed a closed one.
const CLOSED_V6: &str = "::/96, ::ffff:0:0/96, 64:ff9b::/96, 64:ff9b:1::/48, 100::/64, 2001::/32, 2002::/16, \
    fc00::/7, fe80::/10, fec0::/10, ff00::/8";

/// The rules for `nft -f`. `own` are addresses of the machine, closed even where they are public or in a network that is
/// opened.
pub(super) fn rules(egress: &Egress, own: &[IpAddr]) -> Result<String, Refusal> {
    let opened = egress.allow_private.iter().map(|text| network(text)).collect::<Result<Vec<_>, _>>()?;
    let mut out = format!(
        "table inet guard {{\n\
         chain out {{\n\
         type filter hook output priority 0; policy drop;\n\
         oifname \"lo\" accept\n\
         ip daddr {RESOLVER} udp dport 53 accept\n\
         ip daddr {RESOLVER} tcp dport 53 accept\n\
         icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} accept\n"
    );
    for address in own {
        let _ = writeln!(out, "{} daddr {address} reject with icmpx type admin-prohibited", family(*address));
    }
    for (address, prefix) in opened {
        let _ = writeln!(out, "{} daddr {address}/{prefix} accept", family(address));
    }
    let _ = write!(
        out,
        "ip daddr {{ {CLOSED_V4} }} reject with icmpx type admin-prohibited\n\
         ip6 daddr {{ {CLOSED_V6} }} reject with icmpx type admin-prohibited\n\
         meta l4proto {{ tcp, udp, icmp, icmpv6 }} accept\n\
         }}\n\
         chain in {{\n\
         type filter hook input priority 0; policy drop;\n\
         iifname \"lo\" accept\n\
         ct state established,related accept\n\
         icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept\n\
         }}\n\
         }}\n"
    );
    Ok(out)
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// Reads `10.1.0.0/16` or a single address. What is read is written again, so that no text of a setting reaches `nft`.
fn network(text: &str) -> Result<(IpAddr, u8), Refusal> {
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let parsed = address.trim().parse::<IpAddr>().ok().and_then(|address| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), |prefix| prefix.trim().parse::<u8>()).ok()?;
        (prefix <= most).then_some((address, prefix))
    });
    parsed.ok_or_else(|| Refusal::invalid(format!("`{text}` is not a network, as in 10.1.0.0/16")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_closed_before_a_network_is_opened_and_nothing_is_injected() {
        let egress =
            Egress { allow_private: vec!["10.1.0.0/16".into(), "fd00::7".into()], ..Egress::default() };
        let own = ["203.0.113.9", "10.1.0.1", "fd00::1"].map(|address| address.parse().unwrap());
        let text = rules(&egress, &own).unwrap();
        let position = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} in {text}"));
        for own in ["ip daddr 203.0.113.9 reject", "ip daddr 10.1.0.1 reject", "ip6 daddr fd00::1 reject"] {
            assert!(position(own) < position("ip daddr 10.1.0.0/16 accept"), "{own}");
        }
        assert!(position("10.1.0.0/16 accept") < position("10.0.0.0/8"));
        assert!(position("ip6 daddr fd00::7/128 accept") < position("fc00::/7"));
        assert!(position("169.254.0.0/16") < position("meta l4proto"));
        for hostile in ["0.0.0.0/0 accept }", "10.0.0.0/33", "", "example.org", "10.0.0.0/8;"] {
            let egress = Egress { allow_private: vec![hostile.into()], ..Egress::default() };
            assert!(rules(&egress, &[]).is_err(), "{hostile:?}");
        }
    }
}
