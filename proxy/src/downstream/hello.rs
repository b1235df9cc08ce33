//! Whom does a TLS client ask for? The name in its first message, read without any cryptography.

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It may become a hello.
    More,
    /// It is none.
    No,
}

/// Content type of handshake messages (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// A message of the type `client_hello` (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;
/// The extension `server_name`, and in it the type `host_name` (RFC 6066 §3).
const SERVER_NAME: usize = 0;
const HOST_NAME: u8 = 0;
/// A record's content, at most (RFC 8446 §5.1).
const RECORD: usize = 1 << 14;
/// The longest name (RFC 1035 §2.3.4).
const NAME: usize = 253;

/// The name that the `ClientHello` in `octets` asks for, in lower case; `None`: it asks for nobody by name. Bounded by the
/// octets: a length that says more is waited for, one that contradicts another ends it.
pub fn read(octets: &[u8]) -> Result<Option<String>, Unread> {
    let message = message(octets)?;
    // All of it is there, so what is missing is wrong.
    name(&mut Octets(&message))
}

/// The content of the first handshake message, which may be spread over records (RFC 8446 §5.1).
fn message(octets: &[u8]) -> Result<Vec<u8>, Unread> {
    let mut gathered = Vec::new();
    let mut records = Octets(octets);
    loop {
        let content = record(&mut records)?;
        gathered.extend_from_slice(content);
        let mut begun = Octets(&gathered);
        if begun.byte()? != CLIENT_HELLO {
            return Err(Unread::No);
        }
        if let Ok(message) = begun.vector(3) {
            return Ok(message.to_vec());
        }
    }
}

/// The next record's content.
fn record<'o>(octets: &mut Octets<'o>) -> Result<&'o [u8], Unread> {
    let known = octets.0;
    if known.first().is_some_and(|kind| *kind != HANDSHAKE) || known.get(1).is_some_and(|major| *major != 3) {
        return Err(Unread::No);
    }
    let length = octets.take(3).and_then(|_| octets.number(2)).map_err(|Missing| Unread::More)?;
    if length == 0 || length > RECORD {
        return Err(Unread::No);
    }
    octets.take(length).map_err(|Missing| Unread::More)
}

/// RFC 8446 §4.1.2; extensions may be missing in what is older (RFC 5246 §7.4.1.2).
fn name(hello: &mut Octets<'_>) -> Result<Option<String>, Unread> {
    // legacy_version and random; then legacy_session_id, cipher_suites, legacy_compression_methods.
    hello.take(2 + 32)?;
    for length in [1, 2, 1] {
        hello.vector(length)?;
    }
    if hello.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = Octets(hello.vector(2)?);
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        if kind == SERVER_NAME {
            return server_name(&mut Octets(content));
        }
    }
    Ok(None)
}

fn server_name(list: &mut Octets<'_>) -> Result<Option<String>, Unread> {
    let mut names = Octets(list.vector(2)?);
    while !names.0.is_empty() {
        let kind = names.byte()?;
        let name = names.vector(2)?;
        if kind == HOST_NAME {
            let sane = name.len() <= NAME && name.iter().all(u8::is_ascii_graphic);
            let name = str::from_utf8(name).ok().filter(|_| sane).ok_or(Unread::No)?;
            return Ok(Some(name.to_ascii_lowercase()));
        }
    }
    Ok(None)
}

/// There are fewer octets than a length says: where all should be there, it is no hello.
struct Missing;

impl From<Missing> for Unread {
    fn from(Missing: Missing) -> Self {
        Self::No
    }
}

/// What is left to read.
struct Octets<'o>(&'o [u8]);

impl<'o> Octets<'o> {
    fn take(&mut self, count: usize) -> Result<&'o [u8], Missing> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Missing)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Missing> {
        self.take(1).map(|octets| octets[0])
    }

    /// Of so many octets, the most significant first (RFC 8446 §3.1).
    fn number(&mut self, octets: usize) -> Result<usize, Missing> {
        Ok(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
    }

    /// A vector behind its length of so many octets (RFC 8446 §3.4).
    fn vector(&mut self, length: usize) -> Result<&'o [u8], Missing> {
        let length = self.number(length)?;
        self.take(length)
    }
}
