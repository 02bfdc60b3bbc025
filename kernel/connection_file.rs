//! The connection file that Jupyter wrote: where to listen, and the key that signs messages.

use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use jupyter_protocol::ConnectionInfo;
use jupyter_protocol::connection_info::Transport;

/// Reads it.
///
/// # Errors
/// Where it cannot be read or is none.
pub fn read(path: &Path) -> Result<ConnectionInfo> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the connection file {} cannot be read", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not a connection file", path.display()))
}

/// What lets others than the user run code in this kernel, for its log. Nothing is refused: Jupyter
/// chose it, and a container may have its reasons.
pub fn warnings(path: &Path, info: &ConnectionInfo) -> Vec<String> {
    let mut warnings = Vec::new();
    let mode = std::fs::metadata(path).map_or(0, |about| about.mode() & 0o777);
    if mode & 0o077 != 0 && !info.key.is_empty() {
        warnings.push(format!(
            "others on this machine may open the connection file {} (mode {mode:o}), which holds the key \
             that signs messages: chmod 600 it",
            path.display()
        ));
    }
    let is_tcp = matches!(info.transport, Transport::TCP);
    if info.key.is_empty() {
        let who = match is_tcp {
            true => format!("whoever reaches its ports on {}", info.ip),
            false => format!("whoever may open its sockets at {}-*", info.ip),
        };
        warnings.push(format!(
            "the connection file has no key, so messages are not signed: {who} can run code here. Remove \
             `Session.key = b\"\"` from Jupyter's configuration"
        ));
    }
    if is_tcp && !is_local(&info.ip) {
        warnings.push(format!(
            "this kernel listens on {}, which other machines may reach; messages are signed, not encrypted",
            info.ip
        ));
    }
    warnings
}

/// Whether an address is this machine's own. A name that nobody knows is not.
fn is_local(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => (host, 0)
            .to_socket_addrs()
            .is_ok_and(|mut found| found.all(|address| address.ip().is_loopback())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn warnings_of(ip: &str, key: &str, transport: &str, mode: u32) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = serde_json::json!({
            "ip": ip, "key": key, "transport": transport, "signature_scheme": "hmac-sha256",
            "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5,
        });
        std::fs::write(file.path(), text.to_string()).unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).unwrap();
        warnings(file.path(), &read(file.path()).unwrap()).join("\n")
    }

    #[test]
    fn what_jupyter_writes_is_no_trouble() {
        assert_eq!(warnings_of("127.0.0.1", "k", "tcp", 0o600), "");
        assert_eq!(warnings_of("::1", "k", "tcp", 0o600), "");
        assert_eq!(warnings_of("localhost", "k", "tcp", 0o600), "");
        assert_eq!(warnings_of("/run/user/1/k", "k", "ipc", 0o600), "");
    }

    #[test]
    fn what_lets_others_in_is_told() {
        assert!(warnings_of("127.0.0.1", "k", "tcp", 0o644).contains("(mode 644)"));
        assert!(warnings_of("127.0.0.1", "k", "tcp", 0o620).contains("chmod 600"));
        assert!(warnings_of("127.0.0.1", "", "tcp", 0o600).contains("ports on 127.0.0.1"));
        assert!(warnings_of("/tmp/k", "", "ipc", 0o600).contains("sockets at /tmp/k-*"));
        assert!(warnings_of("0.0.0.0", "k", "tcp", 0o600).contains("other machines"));
        let all = warnings_of("192.0.2.1", "", "tcp", 0o644);
        // Without a key there is none to read.
        assert!(all.contains("not signed") && all.contains("other machines"));
        assert!(!all.contains("mode"), "{all}");
    }

    #[test]
    fn what_is_no_connection_file_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        let error = format!("{:#}", read(file.path()).unwrap_err());
        assert!(error.contains("is not a connection file"), "{error}");
        let error = format!("{:#}", read(Path::new("/nowhere/k.json")).unwrap_err());
        assert!(error.contains("cannot be read"), "{error}");
    }
}
