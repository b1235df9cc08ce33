//! Which request is asked about? What stands on the command line, as the octets that would arrive.

use std::net::SocketAddr;

/// A request as a client would send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) authority: String,
    /// With the query.
    pub(super) path: String,
    /// The head on the wire.
    pub(super) head: String,
    /// Whom its captured connection was meant for.
    pub(super) meant: Option<SocketAddr>,
}

impl Asked {
    /// `target` is a URL, an authority with a path, or a path of the `service`.
    pub(super) fn new(method: &str, target: &str, headers: &[String], service: &str) -> Result<Self, String> {
        if [method, target].into_iter().chain(headers.iter().map(String::as_str)).any(breaks_the_line) {
            return Err("a line break is no part of a request line or a header".to_owned());
        }
        let target = match target.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                return Err(format!("`{scheme}` is not carried, only `http`"));
            }
            _ => target,
        };
        let target = target.split_once('#').map_or(target, |(before, _)| before);
        let (authority, rest) = target.split_at(target.find(['/', '?']).unwrap_or(target.len()));
        let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        let mut host = if authority.is_empty() { service } else { authority };
        let mut fields = String::new();
        for field in headers {
            let (name, value) = field
                .split_once(':')
                .ok_or_else(|| format!("`{field}` is no header: write `name: value`"))?;
            if name.eq_ignore_ascii_case("host") {
                host = value.trim();
            } else {
                fields.extend([field, "\r\n"]);
            }
        }
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n");
        Ok(Self { method: method.to_owned(), authority: host.to_owned(), path, head, meant: None })
    }
}

fn breaks_the_line(text: &str) -> bool {
    text.contains(['\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, headers: &[&str]) -> Result<String, String> {
        let headers: Vec<_> = headers.iter().map(ToString::to_string).collect();
        Asked::new("GET", target, &headers, "holdings").map(|asked| asked.head)
    }

    #[test]
    fn urls_authorities_and_paths_are_understood() {
        let wanted = |host: &str, path: &str| Ok(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        for (target, host, path) in [
            ("http://a:80/b?c=d#e", "a:80", "/b?c=d"),
            ("a/b", "a", "/b"),
            ("a", "a", "/"),
            ("a?b=c", "a", "/?b=c"),
            ("/b", "holdings", "/b"),
            ("[::1]:80/x://y", "[::1]:80", "/x://y"),
        ] {
            assert_eq!(head(target, &[]), wanted(host, path), "{target}");
        }
        assert_eq!(head("a", &["Host: b"]), wanted("b", "/"));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(head("https://a/", &[]).is_err());
        assert!(head("a", &["x"]).is_err());
        assert!(head("a", &["x: 1\r\ny: 2"]).is_err());
        assert!(head("a/\r\nx: 1", &[]).is_err());
    }
}
