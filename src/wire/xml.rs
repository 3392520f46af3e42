//! XML bodies: isComposing (RFC 3994), IMDN (RFC 5438).
//!
//! Off the request path: it allocates, within bounds. Elements are found by namespace, whatever prefix they are written
//! with; documents with a DTD are refused (no entities, no outside). Bytes and depth are bounded before anything is built.

use roxmltree::{Document, Node, ParsingOptions};

/// Longest document that is read, in bytes.
pub const XML_MAX: usize = 64 * 1024;

/// Deepest nesting of elements.
pub const DEPTH_MAX: usize = 32;

/// Most nodes of a document.
const NODES_MAX: u32 = 8192;

/// The namespace of isComposing documents (RFC 3994 §6).
pub const ISCOMPOSING: &str = "urn:ietf:params:xml:ns:im-iscomposing";

/// The namespace of IMDN documents (RFC 5438 §11.1).
pub const IMDN: &str = "urn:ietf:params:xml:ns:imdn";

/// Why a document cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// Longer than [`XML_MAX`], deeper than [`DEPTH_MAX`], or of too many nodes.
    TooLarge,
    /// No well-formed XML in UTF-8, or with a DTD.
    Malformed,
    /// Another root element, or an element that must be there lacks.
    NotThis,
}

/// An isComposing status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsComposing {
    /// Whether the state is active. Every other value than `active` reads as idle (RFC 3994 §3.2).
    pub active: bool,
    /// What is being composed, as a media type or a part of one.
    pub content_type: Option<String>,
    /// Seconds until the state is to be refreshed.
    pub refresh: Option<u32>,
}

/// What a disposition notification tells (RFC 5438 §11.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// delivery-notification.
    Delivery,
    /// display-notification.
    Display,
    /// processing-notification.
    Processing,
}

/// The result that a disposition notification tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// delivered.
    Delivered,
    /// failed.
    Failed,
    /// displayed.
    Displayed,
    /// processed.
    Processed,
    /// stored.
    Stored,
    /// forbidden.
    Forbidden,
    /// error.
    Error,
    /// One that an extension defines.
    Other,
}

/// An IMDN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imdn {
    /// The imdn.Message-ID of the message it is about.
    pub message_id: String,
    /// When that message was sent, as it is written.
    pub datetime: Option<String>,
    /// The final recipient.
    pub recipient_uri: Option<String>,
    /// The recipient that was addressed.
    pub original_recipient_uri: Option<String>,
    /// Of what kind it is.
    pub disposition: Disposition,
    /// The result.
    pub outcome: Outcome,
}

/// Reads an isComposing document. `[ISCOMP-01]`
///
/// # Errors
/// It is too large, no XML, or something else.
pub fn is_composing(body: &[u8]) -> Result<IsComposing, Error> {
    let text = checked(body)?;
    let document = parse(text)?;
    let root = root(&document, ISCOMPOSING, "isComposing")?;
    let text = |name| child(root, ISCOMPOSING, name).map(content);
    Ok(IsComposing {
        active: text("state").ok_or(Error::NotThis)? == "active",
        content_type: text("contenttype").filter(|t| !t.is_empty()),
        refresh: text("refresh").and_then(|t| t.parse().ok()),
    })
}

/// Reads an IMDN document. `[IMDN-02]`
///
/// # Errors
/// It is too large, no XML, or something else.
pub fn imdn(body: &[u8]) -> Result<Imdn, Error> {
    let text = checked(body)?;
    let document = parse(text)?;
    let root = root(&document, IMDN, "imdn")?;
    let text = |name| child(root, IMDN, name).map(content);
    let (disposition, notification) = [
        (Disposition::Delivery, "delivery-notification"),
        (Disposition::Display, "display-notification"),
        (Disposition::Processing, "processing-notification"),
    ]
    .into_iter()
    .find_map(|(kind, name)| Some((kind, child(root, IMDN, name)?)))
    .ok_or(Error::NotThis)?;
    let status = child(notification, IMDN, "status").ok_or(Error::NotThis)?;
    let outcome = status.children().find(Node::is_element);
    Ok(Imdn {
        message_id: text("message-id")
            .filter(|id| !id.is_empty())
            .ok_or(Error::NotThis)?,
        datetime: text("datetime"),
        recipient_uri: text("recipient-uri"),
        original_recipient_uri: text("original-recipient-uri"),
        disposition,
        outcome: outcome
            .filter(|n| n.tag_name().namespace() == Some(IMDN))
            .map_or(Outcome::Other, |n| outcome_of(n.tag_name().name())),
    })
}

fn outcome_of(name: &str) -> Outcome {
    match name {
        "delivered" => Outcome::Delivered,
        "failed" => Outcome::Failed,
        "displayed" => Outcome::Displayed,
        "processed" => Outcome::Processed,
        "stored" => Outcome::Stored,
        "forbidden" => Outcome::Forbidden,
        "error" => Outcome::Error,
        _ => Outcome::Other,
    }
}

/// The text of a document that is short and flat enough to be built.
fn checked(body: &[u8]) -> Result<&str, Error> {
    if body.len() > XML_MAX {
        return Err(Error::TooLarge);
    }
    let text = std::str::from_utf8(body).map_err(|_| Error::Malformed)?;
    if depth(body) > DEPTH_MAX {
        return Err(Error::TooLarge);
    }
    Ok(text.trim_start_matches('\u{feff}').trim_ascii())
}

/// The deepest nesting of elements, from the tags alone, in one pass.
///
/// Comments, CDATA and processing instructions are skipped, and quotes kept whole, for what looks like a tag in them is
/// none. Where the document is broken the count ends: the parser says so then.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut most) = (0usize, 0usize);
    let mut rest = body;
    let behind =
        |text: &'_ [u8], end: &[u8]| memchr::memmem::find(text, end).map(|i| i + end.len());
    while let Some(at) = memchr::memchr(b'<', rest) {
        let tag = &rest[at..];
        let end = if tag.starts_with(b"<!--") {
            behind(&tag[4..], b"-->").map(|i| i + 4)
        } else if tag.starts_with(b"<![CDATA[") {
            behind(tag, b"]]>")
        } else if tag.starts_with(b"<?") {
            behind(tag, b"?>")
        } else if tag.starts_with(b"</") {
            depth = depth.saturating_sub(1);
            Some(2)
        } else {
            let end = tag_end(tag);
            if let Some(end) = end {
                most = most.max(depth + 1);
                depth += usize::from(!tag[..end].ends_with(b"/>"));
            }
            end
        };
        match end {
            Some(end) => rest = &tag[end..],
            None => break,
        }
    }
    most
}

/// Behind the `>` that ends a start tag; one within quotes does not.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    let end = tag.iter().position(|&b| match quote {
        Some(q) => {
            if b == q {
                quote = None;
            }
            false
        }
        None => {
            if matches!(b, b'"' | b'\'') {
                quote = Some(b);
            }
            b == b'>'
        }
    })?;
    Some(end + 1)
}

fn parse(text: &str) -> Result<Document<'_>, Error> {
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: NODES_MAX,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|e| {
        if matches!(e, roxmltree::Error::NodesLimitReached) {
            Error::TooLarge
        } else {
            Error::Malformed
        }
    })
}

fn root<'a, 'i>(
    document: &'a Document<'i>,
    namespace: &str,
    name: &str,
) -> Result<Node<'a, 'i>, Error> {
    let root = document.root_element();
    if root.has_tag_name((namespace, name)) {
        Ok(root)
    } else {
        Err(Error::NotThis)
    }
}

fn child<'a, 'i>(parent: Node<'a, 'i>, namespace: &str, name: &str) -> Option<Node<'a, 'i>> {
    parent
        .children()
        .find(|n| n.has_tag_name((namespace, name)))
}

/// The text of an element, comments passed over, without the space around it.
fn content(node: Node<'_, '_>) -> String {
    let parts: String = node
        .children()
        .filter(Node::is_text)
        .filter_map(|n| n.text())
        .collect();
    parts.trim().to_owned()
}
