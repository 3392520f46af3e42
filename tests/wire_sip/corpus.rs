//! The corpus and its index: each file is listed, each listed outcome is what comes out.

use ringfork::wire::sip::{Error, Message};
use serde::Deserialize;
use std::{collections::BTreeSet, fs, path::PathBuf, sync::LazyLock};

/// An outcome: "ok", "drop", "more", a status, or a number of messages.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Number(u16),
    Word(String),
}

/// An entry of index.toml, which says what each field means.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) clause: String,
    pub(crate) wire: Outcome,
    #[serde(default)]
    pub(crate) answer: Vec<u16>,
    pub(crate) stream: Option<Outcome>,
    #[serde(default)]
    pub(crate) note: String,
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Index {
    message: Vec<Entry>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/sip")
}

/// Every message of the corpus.
pub(crate) fn all() -> &'static [Entry] {
    static ALL: LazyLock<Vec<Entry>> = LazyLock::new(load);
    &ALL
}

fn load() -> Vec<Entry> {
    let text = fs::read_to_string(folder().join("index.toml")).unwrap();
    let mut index: Index = toml::from_str(&text).unwrap();
    for entry in &mut index.message {
        entry.bytes =
            fs::read(folder().join(&entry.file)).unwrap_or_else(|e| panic!("{}: {e}", entry.file));
    }
    index.message
}

/// The messages that the wire accepts.
pub(crate) fn good() -> Vec<&'static Entry> {
    all()
        .iter()
        .filter(|e| e.wire == Outcome::Word("ok".into()))
        .collect()
}

/// One message by its name, such as `rfc4475/wsinv`.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    fs::read(folder().join(name).with_extension("sip")).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What the wire makes of a datagram.
pub(crate) fn read(bytes: &[u8]) -> Result<Message<'_>, Error> {
    let message = Message::parse(bytes)?;
    message.check()?;
    Ok(message)
}

/// The same, as the index has it.
pub(crate) fn outcome(result: Result<(), Error>) -> Outcome {
    match result.map_err(|e| e.status()) {
        Ok(()) => Outcome::Word("ok".into()),
        Err(None) => Outcome::Word("drop".into()),
        Err(Some(status)) => Outcome::Number(status),
    }
}

#[test]
fn each_file_is_listed_once() {
    let listed: BTreeSet<String> = all().iter().map(|e| e.file.clone()).collect();
    assert_eq!(listed.len(), all().len());
    let mut found = BTreeSet::new();
    for group in fs::read_dir(folder())
        .unwrap()
        .map(Result::unwrap)
        .filter(|e| e.file_type().unwrap().is_dir())
    {
        for file in fs::read_dir(group.path()).unwrap() {
            let path = file.unwrap().path();
            found.insert(
                path.strip_prefix(folder())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    assert_eq!(listed, found);
    assert_eq!(
        listed.iter().filter(|f| f.starts_with("rfc4475/")).count(),
        49
    );
}

#[test]
fn each_message_is_accepted_or_answered_as_its_document_says() {
    // RFC 4475, all of it [SIP-MSG-01]; RFC 5118, all of it [SIP-MSG-02].
    for entry in all() {
        let result = read(&entry.bytes);
        let found = outcome(result.as_ref().map(|_| ()).map_err(|e| *e));
        let Entry {
            file, clause, note, ..
        } = entry;
        assert_eq!(
            found,
            entry.wire,
            "{file} ({clause}; {note}): {:?}",
            result.err()
        );
        if let Outcome::Number(status) = found
            && !entry.answer.is_empty()
        {
            assert!(entry.answer.contains(&status), "{}: {status}", entry.file);
        }
    }
}

#[test]
fn a_refused_request_can_still_be_answered() {
    // What a 400 copies: Via, From, To, Call-ID, CSeq, as far as they are there.
    let mut answerable = 0;
    for entry in all()
        .iter()
        .filter(|e| matches!(e.wire, Outcome::Number(_)))
    {
        let message = Message::salvage(&entry.bytes);
        assert!(message.is_request(), "{}", entry.file);
        let whole = message.via().is_ok()
            && message.call_id().is_ok()
            && message.cseq().is_ok()
            && message.from().is_ok();
        answerable += usize::from(whole && message.to().is_ok());
    }
    assert_eq!(answerable, 30);
    let bytes = bytes("bad/no-colon");
    assert!(Message::parse(&bytes).is_err());
    let message = Message::salvage(&bytes);
    assert_eq!(message.call_id().unwrap(), b"bad@192.0.2.10");
    assert_eq!(
        message.via().unwrap().transaction_branch().unwrap(),
        b"z9hG4bKbad"
    );
    assert_eq!(message.all().count(), 6);
}

#[test]
fn an_error_says_where() {
    let at = |name: &str| {
        let bytes = bytes(name);
        let error = read(&bytes).unwrap_err();
        (
            error.to_string(),
            bytes[error.at..]
                .iter()
                .take(4)
                .map(|b| char::from(*b))
                .collect::<String>(),
        )
    };
    assert_eq!(
        at("rfc4475/quotbal"),
        ("Malformed To".into(), "\"Mr.".into())
    );
    assert_eq!(
        at("rfc4475/badaspec"),
        ("Malformed To".into(), " sip".into())
    );
    assert_eq!(
        at("rfc4475/ltgtruri"),
        ("Malformed Request-URI".into(), "<sip".into())
    );
    assert_eq!(
        at("rfc4475/scalar02"),
        ("Malformed CSeq".into(), "3689".into())
    );
    assert_eq!(
        at("rfc4475/ncl"),
        ("Malformed Content-Length".into(), "Cont".into())
    );
    assert_eq!(at("bad/bare-lf"), ("Bare CR or LF".into(), "\nFro".into()));
    assert_eq!(
        at("bad/no-colon"),
        ("Malformed header line".into(), "Max-".into())
    );
}
