//! What the kernel says of itself.

use std::sync::OnceLock;

use jupyter_protocol::messaging::{
    CodeMirrorMode, HelpLink, KernelInfoReply, LanguageInfo, ReplyStatus,
};

static RUSTC_VERSION: OnceLock<String> = OnceLock::new();

/// Answers a `kernel_info_request`.
pub async fn reply() -> KernelInfoReply {
    let version = match RUSTC_VERSION.get() {
        Some(version) => version.clone(),
        None => find_version().await,
    };
    KernelInfoReply {
        status: ReplyStatus::Ok,
        protocol_version: "5.4".into(),
        implementation: "memtrack-kernel".into(),
        implementation_version: env!("CARGO_PKG_VERSION").into(),
        language_info: LanguageInfo {
            name: "rust".into(),
            version,
            mimetype: Some("text/x-rust".into()),
            file_extension: Some(".rs".into()),
            pygments_lexer: Some("rust".into()),
            codemirror_mode: Some(CodeMirrorMode::Simple("rust".into())),
            nbconvert_exporter: Some("script".into()),
        },
        banner: format!(
            "Rust (memtrack) {}: a Rust kernel that shows where memory went. Put %memtrack on top \
             of a cell; %lsmagic lists the rest.",
            env!("CARGO_PKG_VERSION")
        ),
        help_links: vec![HelpLink {
            text: "The Rust standard library".into(),
            url: "https://doc.rust-lang.org/std/".into(),
        }],
        debugger: false,
        error: None,
    }
}

/// rustc's version, such as `1.95.0`; empty where there is no rustc.
async fn find_version() -> String {
    let output = tokio::process::Command::new("rustc")
        .arg("-V")
        .output()
        .await;
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    RUSTC_VERSION.get_or_init(|| version.to_owned()).clone()
}
