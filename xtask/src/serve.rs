//! Serves the page and the models to this computer alone, with headers that hold the page to its word:
//! nothing but its own files is loaded, and nothing is sent.

use std::net::TcpListener;
use std::thread;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::services::ServeDir;

use crate::process::{Failure, Result};
use crate::{model, page};

/// The port that is tried first. The browser keeps the model by address, so it should stay the same.
const PORT: u16 = 8787;

/// A worker from a blob is a person's function, which judges answers: it has this policy, too, and no script beside it.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; \
         font-src 'self'; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// Starts to serve, on `port`, or on the usual one or the next that is free, and gives the address.
pub fn start(port: Option<u16>) -> Result<String> {
    let open = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let listener = match port {
        Some(port) => open(port).map_err(|error| {
            Failure::new(format!("port {port} cannot be used: {error}"), "choose another with --port, or leave it out")
        })?,
        None => (PORT..PORT + 100).find_map(|port| open(port).ok()).ok_or_else(|| {
            Failure::new(format!("no port from {PORT} to {} is free", PORT + 99), "choose one with --port")
        })?,
    };
    let failed = |error| Failure::new(format!("the server could not be started: {error}"), "try once more");
    let address = listener.local_addr().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    thread::spawn(move || {
        // It runs until the process ends; what fails is one connection at a time.
        let _ = runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener)?, site()).await });
    });
    Ok(format!("http://{address}/"))
}

fn site() -> Router {
    let description = || async { ([(header::CONTENT_TYPE, "application/json")], model::description()) };
    Router::new()
        .route("/models/default.json", get(description))
        .nest_service("/models", ServeDir::new(model::folder()).append_index_html_on_directories(false))
        .fallback_service(ServeDir::new(page::folder()))
        .layer(middleware::from_fn(guard))
}

/// Turns away what has no business here, and puts our headers on every answer.
async fn guard(request: Request, next: Next) -> Response {
    // A page of another site could reach us under its own name.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let mut response = if !host.is_some_and(is_local) {
        (StatusCode::FORBIDDEN, "this server answers to 127.0.0.1 and localhost alone").into_response()
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, "this server only gives files").into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    ["127.0.0.1", "localhost"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};
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
        assert!(whole.contains("content-length: 10\r\n"));
        for (name, value) in HEADERS {
            assert!(whole.contains(&format!("{name}: {value}\r\n")), "{name}");
        }
        let part = get(&path, "Range: bytes=4-\r\n");
        assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n456789"), "{part}");
        assert!(part.contains("content-range: bytes 4-9/10\r\n"));
        assert!(get(&path, "Range: bytes=10-\r\n").starts_with("HTTP/1.1 416"));

        assert!(get("/models/default.json", "").contains(&model::description()));
        assert!(get("/models/default.json?again", "").contains("content-type: application/json\r\n"));
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
        let folder = model::folder();
        fs::create_dir_all(&folder).unwrap();
        let address = start(Some(0)).unwrap();
        for (name, kind) in [("xtask-kind.wasm", "application/wasm"), ("xtask-kind.js", "text/javascript")] {
            fs::write(folder.join(name), "").unwrap();
            let head =
                ask(&address, &format!("HEAD /models/{name} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"));
            assert!(head.contains(&format!("content-type: {kind}\r\n")), "{head}");
            fs::remove_file(folder.join(name)).unwrap();
        }
    }

    /// A browser opens several connections at once and keeps them: none may wait for another to be closed.
    #[test]
    fn many_connections_at_once_are_all_answered() {
        let address = start(Some(0)).unwrap();
        let host = address.trim_start_matches("http://").trim_end_matches('/');
        let connect = |_| TcpStream::connect(host).unwrap();
        let mut streams: Vec<TcpStream> = (0..32).map(connect).collect();
        for stream in &mut streams {
            stream.write_all(format!("GET /models/default.json HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        }
        for stream in &mut streams {
            stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let address = start(Some(0)).unwrap();
        let port: u16 = address.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        assert!(start(Some(port)).unwrap_err().what.contains(&port.to_string()));
    }
}
