//! How many connections are redirected at this moment? Each ends at a socket of the sidecar's, which anybody may count.

use std::fs;
use std::io;

/// Both ends know of the connection, or one of them still does (`tcp_states.h`); not `TIME_WAIT`, nor what only listens.
const LIVE: [&str; 6] = ["01", "03", "04", "05", "08", "09"];

/// Connections to these ports of this network namespace.
pub(super) fn count(ports: &[u16]) -> io::Result<usize> {
    let v4 = fs::read_to_string("/proc/net/tcp")?;
    // Where there is no IPv6, there is no such file.
    let v6 = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    Ok(count_in(&v4, ports) + count_in(&v6, ports))
}

/// In a list as `proc_pid_net(5)` describes it.
fn count_in(list: &str, ports: &[u16]) -> usize {
    let is_one = |line: &&str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let port = columns.next().and_then(|local| local.rsplit_once(':')).map(|(_, port)| port);
        let port = port.and_then(|port| u16::from_str_radix(port, 16).ok());
        let state = columns.nth(1).unwrap_or_default();
        port.is_some_and(|port| ports.contains(&port)) && LIVE.contains(&state)
    };
    list.lines().filter(is_one).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_and_what_has_ended_is_not_live() {
        let line = |local: &str, state: &str| {
            format!(
                "   0: 0100007F:{local} 0700010A:0050 {state} 00000000:00000000 00:00000000 00000000  2102 0 91\n"
            )
        };
        // 15001 is 3A99.
        let list: String = [("3A99", "01"), ("3A99", "0A"), ("3A99", "06"), ("1F90", "01")]
            .map(|(p, s)| line(p, s))
            .concat();
        assert_eq!(count_in(&list, &[15001]), 1);
        assert_eq!(count_in(&list, &[15001, 8080]), 2);
    }
}
