//! Files as forms send them: `multipart/form-data` (RFC 7578), as much of it as one file needs.

use axum::{
    body::Bytes,
    extract::FromRequest,
    http::{StatusCode, header},
};

use super::error::ApiError;

/// One file, sent as it is or as the first file of a form. The limit of bodies holds for it.
#[derive(Debug)]
pub struct File {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it is said to be, in lower case and without parameters.
    pub kind: String,
    /// What is in it.
    pub content: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for File {
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let content = Bytes::from_request(request, state).await.map_err(|error| {
            let too_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
            ApiError::new(status, "BAD_REQUEST", error.body_text())
        })?;
        match base(&kind).as_str() {
            "multipart/form-data" => {
                let boundary = parameter(&kind, "boundary").filter(|it| (1..=70).contains(&it.len()));
                let boundary = boundary.ok_or_else(|| ApiError::bad("the form has no boundary"))?;
                first_file(&content, boundary).ok_or_else(|| ApiError::bad("there is no file in the form"))
            }
            other => Ok(Self { name: None, kind: other.to_owned(), content }),
        }
    }
}

fn base(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A parameter of a header's value, with or without quotes.
fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|part| {
        let (known, value) = part.split_once('=')?;
        let is_it = known.trim().eq_ignore_ascii_case(name);
        is_it.then(|| value.trim().trim_matches('"'))
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}

/// The first part of the form that is a file.
fn first_file(form: &Bytes, boundary: &str) -> Option<File> {
    let delimiter = format!("\r\n--{boundary}");
    let mut at = match form.starts_with(&delimiter.as_bytes()[2..]) {
        true => delimiter.len() - 2,
        false => find(form, delimiter.as_bytes())? + delimiter.len(),
    };
    loop {
        // After a delimiter there is the end of its line; after the last there is "--".
        let rest = form.get(at..)?;
        if !rest.starts_with(b"\r\n") {
            return None;
        }
        let end = at + find(rest, delimiter.as_bytes())?;
        let part = form.slice(at + 2..end);
        let head_end = if part.starts_with(b"\r\n") { 0 } else { find(&part, b"\r\n\r\n")? + 2 };
        let (mut name, mut kind) = (None, String::new());
        for line in std::str::from_utf8(&part[..head_end]).ok()?.lines() {
            let Some((field, value)) = line.split_once(':') else { continue };
            match field.trim().to_ascii_lowercase().as_str() {
                "content-disposition" => name = parameter(value, "filename").map(str::to_owned),
                "content-type" => kind = base(value),
                _ => {}
            }
        }
        if name.is_some() {
            return Some(File { name, kind, content: part.slice(head_end + 2..) });
        }
        at = end + delimiter.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(form: &str) -> Option<(String, String, String)> {
        let file = first_file(&Bytes::copy_from_slice(form.as_bytes()), "xx")?;
        let text = String::from_utf8(file.content.to_vec()).expect("text");
        Some((file.name.expect("a file has a name"), file.kind, text))
    }

    #[test]
    fn the_first_file_of_a_form() {
        let form = "--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nnot a file\r\n\
                    --xx\r\ncontent-disposition: form-data; name=\"filename\"; filename=\"u.csv\"\r\nContent-Type: text/CSV; x=y\r\n\r\n\
                    user_id,password\r\n\r\nb,c\r\n\r\n--xx--\r\n";
        assert_eq!(file(form), Some(("u.csv".into(), "text/csv".into(), "user_id,password\r\n\r\nb,c\r\n".into())));
        assert_eq!(file(&format!("preamble\r\n{form}")).map(|(name, ..)| name).as_deref(), Some("u.csv"));
        assert_eq!(parameter("multipart/form-data; Boundary=\"a b\"", "boundary"), Some("a b"));
    }

    #[test]
    fn what_is_no_form_has_no_file() {
        for form in
            ["", "--xx", "--xx--", "--xx\r\n", "--xx\r\n\r\nx\r\n--xx--", "--xx\r\nno end of the head\r\n--xx--"]
        {
            assert_eq!(file(form), None, "{form:?}");
        }
        let cut = "--xx\r\nContent-Disposition: form-data; filename=a\r\n\r\nabc";
        assert_eq!(file(cut), None, "it does not end");
    }
}
