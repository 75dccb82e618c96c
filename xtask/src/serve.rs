//! Serves the page and the models to this computer alone, with headers that hold the page to its word:
//! nothing but its own files is loaded, and nothing is sent.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

use crate::process::{Failure, Result};
use crate::range::{self, Part};
use crate::{model, page};

/// The port that is tried first. The browser keeps the model by address, so it should stay the same.
const PORT: u16 = 8787;
/// As many downloads as can go on at once.
const THREADS: usize = 8;

const HEADERS: [(&str, &str); 6] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; \
         font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Accept-Ranges", "bytes"),
    ("Cache-Control", "no-cache"),
];

type Body = Box<dyn Read + Send>;

/// Starts to serve, on `port`, or on the usual one or the next that is free, and gives the address.
pub fn start(port: Option<u16>) -> Result<String> {
    let open = |port: u16| Server::http(("127.0.0.1", port));
    let server = match port {
        Some(port) => open(port).map_err(|error| {
            Failure::new(format!("port {port} cannot be used: {error}"), "choose another with --port, or leave it out")
        })?,
        None => (PORT..PORT + 100).find_map(|port| open(port).ok()).ok_or_else(|| {
            Failure::new(format!("no port from {PORT} to {} is free", PORT + 99), "choose one with --port")
        })?,
    };
    let address = format!("http://{}/", server.server_addr());
    let server = Arc::new(server);
    for _ in 0..THREADS {
        let server = Arc::clone(&server);
        thread::spawn(move || {
            while let Ok(request) = server.recv() {
                let response = answer(&request);
                // The browser may have gone away, which is its right.
                let _ = request.respond(response);
            }
        });
    }
    Ok(address)
}

fn answer(request: &Request) -> Response<Body> {
    // A page of another site could reach us under its own name; it has no business here.
    if !header(request, "Host").is_some_and(is_local) {
        return text(403, "this server answers to 127.0.0.1 and localhost alone");
    }
    if !matches!(request.method(), Method::Get | Method::Head) {
        return text(405, "this server only gives files");
    }
    let path = request.url().split(['?', '#']).next().unwrap_or_default();
    if path == "/models/default.json" {
        let json = model::description().into_bytes();
        return respond(200, Some("application/json"), Box::new(Cursor::new(json.clone())), json.len() as u64);
    }
    match place(path) {
        Some(place) => file(&place, header(request, "Range")),
        None => text(404, "there is no such file"),
    }
}

/// The file that a path of the address stands for.
fn place(path: &str) -> Option<PathBuf> {
    let path = match path.strip_prefix('/')? {
        "" => "index.html",
        path => path,
    };
    // No way up, no drive and no other disguise leads out of the folder.
    if path.contains('\\') || !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let place = match path.strip_prefix("models/") {
        Some(name) => model::folder().join(name),
        None => page::folder().join(path),
    };
    place.is_file().then_some(place)
}

fn file(path: &Path, range: Option<&str>) -> Response<Body> {
    let open = || -> std::io::Result<(File, u64)> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    };
    let Ok((mut file, size)) = open() else { return text(500, "the file could not be read") };
    match range::part(range, size) {
        Part::Whole => respond(200, media_type(path), Box::new(file), size),
        Part::Some { start, length } => {
            if file.seek(SeekFrom::Start(start)).is_err() {
                return text(500, "the file could not be read");
            }
            let response = respond(206, media_type(path), Box::new(file.take(length)), length);
            let last = start + length - 1;
            response.with_header(named("Content-Range", &format!("bytes {start}-{last}/{size}")))
        }
        Part::None => {
            text(416, "there is no such part").with_header(named("Content-Range", &format!("bytes */{size}")))
        }
    }
}

fn text(status: u16, words: &'static str) -> Response<Body> {
    respond(status, Some("text/plain; charset=utf-8"), Box::new(words.as_bytes()), words.len() as u64)
}

fn respond(status: u16, media_type: Option<&str>, body: Body, length: u64) -> Response<Body> {
    let headers = HEADERS.iter().copied().chain(media_type.map(|media_type| ("Content-Type", media_type)));
    let headers = headers.map(|(name, value)| named(name, value)).collect();
    // A length always, so that a download can show how far it is.
    Response::new(StatusCode(status), headers, body, Some(length as usize), None).with_chunked_threshold(usize::MAX)
}

fn named(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("our own headers are plain ASCII")
}

fn header<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    request.headers().iter().find(|header| header.field.equiv(name)).map(|header| header.value.as_str())
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    ["127.0.0.1", "localhost"].contains(&name)
}

fn media_type(path: &Path) -> Option<&'static str> {
    Some(match path.extension()?.to_str()? {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "jsonl" => "application/x-ndjson",
        "gguf" | "safetensors" => "application/octet-stream",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::net::TcpStream;

    /// What the server says to one request, as it goes over the wire.
    fn ask(address: &str, request: &str) -> String {
        let host = address.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(request.replace("HOST", host).as_bytes()).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn files_parts_and_refusals() {
        fs::create_dir_all(model::folder()).unwrap();
        let name = "xtask-test.gguf";
        fs::write(model::folder().join(name), "0123456789").unwrap();
        let address = start(Some(0)).unwrap();
        let get = |path: &str, extra: &str| {
            ask(&address, &format!("GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{extra}\r\n"))
        };
        let path = format!("/models/{name}");

        let whole = get(&path, "");
        assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("\r\n\r\n0123456789"), "{whole}");
        assert!(whole.contains("Content-Length: 10\r\n"));
        for (name, value) in HEADERS {
            assert!(whole.contains(&format!("{name}: {value}\r\n")), "{name}");
        }
        let part = get(&path, "Range: bytes=4-\r\n");
        assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n456789"), "{part}");
        assert!(part.contains("Content-Range: bytes 4-9/10\r\n"));
        assert!(get(&path, "Range: bytes=10-\r\n").starts_with("HTTP/1.1 416"));

        assert!(get("/models/default.json", "").contains(&model::description()));
        assert!(get("/models/default.json?again", "").contains("Content-Type: application/json\r\n"));
        for outside in ["/models/../../Cargo.toml", "/../Cargo.toml", "//etc/passwd", "/models/", "/no-such-file"] {
            assert!(get(outside, "").starts_with("HTTP/1.1 404"), "{outside}");
        }
        let stranger = format!("GET {path} HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n");
        assert!(ask(&address, &stranger).starts_with("HTTP/1.1 403"));
        let post = "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(ask(&address, post).starts_with("HTTP/1.1 405"));
        fs::remove_file(model::folder().join(name)).unwrap();
    }

    #[test]
    fn the_kinds_of_files_that_browsers_are_strict_about() {
        assert_eq!(media_type(Path::new("a/tunesmith_bg.wasm")), Some("application/wasm"));
        assert_eq!(media_type(Path::new("worker-1a2b.js")), Some("text/javascript; charset=utf-8"));
        assert_eq!(media_type(Path::new("LICENSE")), None);
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let address = start(Some(0)).unwrap();
        let port: u16 = address.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        assert!(start(Some(port)).unwrap_err().what.contains(&port.to_string()));
    }
}
