//! What a request head may be. Pure: bytes in, a verdict out. It decides before any library has seen
//! a byte, and refuses what two readers could understand differently (RFC 9112 sections 2.2, 3, 5, 6):
//! where the head ends, where the next request begins and whose it is are never a matter of opinion.

#[cfg(test)]
mod tests;

/// Header fields of one request, at most; what Apache and gunicorn allow too.
const FIELDS_MAX: usize = 100;

/// What the bytes of a connection hold.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The beginning of a head, so far sound.
    Partial,
    /// A whole, sound head.
    Whole(Head<'a>),
    /// No head that could be answered otherwise. The connection ends with the answer.
    Refused(Refusal),
}

/// Why a head is refused, and the status code it is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP, or ambiguous.
    Malformed = 400,
    /// The request line alone is over the limit.
    TargetTooLong = 414,
    /// An expectation that is not 100-continue.
    ExpectationFailed = 417,
    /// Too many bytes or fields.
    TooLarge = 431,
    /// A transfer coding that is not known.
    NotImplemented = 501,
}

impl Refusal {
    pub(crate) fn status(self) -> u16 {
        self as u16
    }
}

/// The fields that the service reads. No other reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Whom the request is for: in redirects.
    Host,
    /// The client's name for the request.
    RequestId,
    /// Scheme of a TLS proxy on this machine: in redirects, as the next two.
    ForwardedProto,
    /// The same, older.
    ForwardedProtocol,
    /// The same, older still.
    ForwardedSsl,
}

impl Field {
    /// All of them; `field as usize` is its place here.
    pub const ALL: [Self; 5] = [
        Self::Host,
        Self::RequestId,
        Self::ForwardedProto,
        Self::ForwardedProtocol,
        Self::ForwardedSsl,
    ];

    /// Its name in a head.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "Host",
            Self::RequestId => "X-Request-Id",
            Self::ForwardedProto => "X-Forwarded-Proto",
            Self::ForwardedProtocol => "X-Forwarded-Protocol",
            Self::ForwardedSsl => "X-Forwarded-Ssl",
        }
    }
}

/// A sound head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Bytes up to the end of the empty line, ignored empty lines before it included.
    pub bytes: usize,
    /// As sent.
    pub method: &'a str,
    /// As sent: visible ASCII.
    pub target: &'a str,
    /// HTTP/1.0.
    pub is_http_1_0: bool,
    /// Whether the client wants the connection kept.
    pub keeps_alive: bool,
    /// Whether a body follows. It is never read: the connection ends with the answer.
    pub has_body: bool,
    /// Values of [`Field::ALL`], where there are any. One that is not printable ASCII is
    /// empty: it names nobody.
    pub fields: [Option<&'a str>; Field::ALL.len()],
}

/// Looks at what a connection has sent so far, of which a head may take `head_max_bytes`.
pub fn inspect(bytes: &[u8], head_max_bytes: usize) -> Verdict<'_> {
    // RFC 9112 2.2: empty lines before the request line are ignored.
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    let limited = &bytes[start..bytes.len().min(start + head_max_bytes)];
    let is_cut = limited.len() < bytes.len() - start;
    if start > head_max_bytes {
        return Verdict::Refused(Refusal::Malformed);
    }
    match read_head(limited, is_cut || limited.len() == head_max_bytes) {
        Ok(Some(mut head)) => {
            head.bytes += start;
            Verdict::Whole(head)
        }
        Ok(None) => Verdict::Partial,
        Err(refusal) => Verdict::Refused(refusal),
    }
}

/// `Ok(None)`: more is needed. `is_full`: no more may come.
fn read_head(bytes: &[u8], is_full: bool) -> Result<Option<Head<'_>>, Refusal> {
    let Some((line, mut rest)) = split_line(bytes)? else {
        let may_begin = |&first: &u8| is_token_byte(first) || first == b'\r';
        return match bytes.first() {
            _ if is_full => Err(Refusal::TargetTooLong),
            // Not a byte of HTTP: no need to wait for more.
            Some(first) if !may_begin(first) => Err(Refusal::Malformed),
            _ => Ok(None),
        };
    };
    let mut fields = Fields::default();
    let mut head = read_request_line(line)?;
    for _ in 0..=FIELDS_MAX {
        let Some((line, after)) = split_line(rest)? else {
            return match is_full {
                true => Err(Refusal::TooLarge),
                false => Ok(None),
            };
        };
        rest = after;
        if line.is_empty() {
            head.bytes = bytes.len() - rest.len();
            return fields.finish(head).map(Some);
        }
        fields.read(line)?;
    }
    Err(Refusal::TooLarge)
}

/// A line without its end, and what follows it.
type Lines<'a> = (&'a [u8], &'a [u8]);

/// The first line. A line ends with CRLF and holds no other CR, LF
/// or NUL (RFC 9112 2.2 allows a bare LF; accepting one is what smuggling lives on).
fn split_line(bytes: &[u8]) -> Result<Option<Lines<'_>>, Refusal> {
    let is_end = |&byte: &u8| byte == b'\r' || byte == b'\n' || byte == 0;
    match bytes.iter().position(is_end) {
        None => Ok(None),
        Some(at) => match &bytes[at..] {
            [b'\r', b'\n', rest @ ..] => Ok(Some((&bytes[..at], rest))),
            [b'\r'] => Ok(None),
            _ => Err(Refusal::Malformed),
        },
    }
}

/// `METHOD SP target SP HTTP/1.x`, with single spaces.
fn read_request_line(line: &[u8]) -> Result<Head<'_>, Refusal> {
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Malformed);
    };
    let is_visible = |&byte: &u8| byte.is_ascii_graphic();
    if method.is_empty() || !method.iter().copied().all(is_token_byte) {
        return Err(Refusal::Malformed);
    }
    if target.is_empty() || !target.iter().all(is_visible) {
        return Err(Refusal::Malformed);
    }
    let is_http_1_0 = match version {
        b"HTTP/1.0" => true,
        // A higher minor version is answered as 1.1 (RFC 9110 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => false,
        _ => return Err(Refusal::Malformed),
    };
    Ok(Head {
        bytes: 0,
        method: ascii(method)?,
        target: ascii(target)?,
        is_http_1_0,
        keeps_alive: !is_http_1_0,
        has_body: false,
        fields: [None; Field::ALL.len()],
    })
}

/// The fields that say something about the connection, the body or the service.
#[derive(Debug, Default)]
struct Fields<'a> {
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    read: [Option<&'a [u8]>; Field::ALL.len()],
    has_close: bool,
    has_keep_alive: bool,
}

impl<'a> Fields<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), Refusal> {
        // A line that begins with white space would be folded into the one before (RFC 9112 5.2).
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .ok_or(Refusal::Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().copied().all(is_token_byte) {
            return Err(Refusal::Malformed);
        }
        // Visible characters, spaces, tabs and what older texts call obs-text (RFC 9110 5.5).
        if value
            .iter()
            .any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
        {
            return Err(Refusal::Malformed);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            once(&mut self.content_length, value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            once(&mut self.transfer_encoding, value)
        } else if name.eq_ignore_ascii_case(b"connection") {
            for option in value.split(|&byte| byte == b',') {
                let option = option.trim_ascii();
                self.has_close |= option.eq_ignore_ascii_case(b"close");
                self.has_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
            Ok(())
        } else if name.eq_ignore_ascii_case(b"expect")
            && !value.eq_ignore_ascii_case(b"100-continue")
        {
            Err(Refusal::ExpectationFailed)
        } else {
            self.keep(name, value)
        }
    }

    fn keep(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Refusal> {
        let is_named = |field: &Field| name.eq_ignore_ascii_case(field.name().as_bytes());
        match Field::ALL.into_iter().find(is_named) {
            Some(Field::Host) => once(&mut self.read[Field::Host as usize], value),
            // The others are hints: the last one counts.
            Some(field) => {
                self.read[field as usize] = Some(value);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn finish(&self, mut head: Head<'a>) -> Result<Head<'a>, Refusal> {
        head.has_body = match (self.content_length, self.transfer_encoding) {
            (None, None) => false,
            (Some(length), None) => has_length(length)?,
            (None, Some(_)) if head.is_http_1_0 => return Err(Refusal::Malformed),
            (None, Some(codings)) => ends_chunked(codings)?,
            (Some(_), Some(_)) => return Err(Refusal::Malformed),
        };
        head.keeps_alive = !self.has_close && (!head.is_http_1_0 || self.has_keep_alive);
        head.fields = self.read.map(|value| value.map(printable));
        Ok(head)
    }
}

/// A field that may stand only once: two of them are two opinions.
fn once<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Refusal> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Malformed),
    }
}

/// Whether a Content-Length announces a body: digits alone, and a number that fits.
fn has_length(value: &[u8]) -> Result<bool, Refusal> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    match ascii(value)?.parse::<u64>() {
        Ok(length) if is_number => Ok(length > 0),
        _ => Err(Refusal::Malformed),
    }
}

/// Whether transfer codings end with the one `chunked`: without it a body has no known length
/// (RFC 9112 6.1).
fn ends_chunked(codings: &[u8]) -> Result<bool, Refusal> {
    let mut ends = false;
    for coding in codings.split(|&byte| byte == b',') {
        let coding = coding.trim_ascii().to_ascii_lowercase();
        match coding.as_slice() {
            _ if ends => return Err(Refusal::Malformed),
            b"chunked" => ends = true,
            b"gzip" | b"deflate" | b"compress" | b"identity" => {}
            _ => return Err(Refusal::NotImplemented),
        }
    }
    ends.then_some(true).ok_or(Refusal::Malformed)
}

/// A value that holds nothing but printable ASCII; another one is empty.
fn printable(value: &[u8]) -> &str {
    let is_printable = |&byte: &u8| (b' '..=b'~').contains(&byte);
    let is_sound = value.iter().all(is_printable);
    ascii(value).ok().filter(|_| is_sound).unwrap_or_default()
}

fn ascii(bytes: &[u8]) -> Result<&str, Refusal> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(text),
        _ => Err(Refusal::Malformed),
    }
}

/// RFC 9110 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
