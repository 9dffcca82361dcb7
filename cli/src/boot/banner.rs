//! What `dev` says once it serves: where everything is, and lines to paste into another terminal.

use std::path::Path;

use pushgate_protocol::ids::AppId;

use crate::runtime_file::Addresses;

/// The text. `program` is this program's own path, `data` the data directory, both absolute.
pub fn text(program: &Path, data: &Path, addresses: &Addresses, app: &AppId) -> String {
    let run = |command: &str| format!("{} {command} --data {}", quoted(program), quoted(data));
    let Addresses { clients, admin, rest, links, tls } = addresses;
    let s = if *tls { "s" } else { "" };
    // The secret is fetched when the line runs: it stands in no terminal's history and no log.
    let secret = format!("{} --app {app} | sed 's/.*\"secret\":\"\\([^\"]*\\)\".*/\\1/'", run("app show"));
    format!(
        "Pushgate is up; Ctrl-C stops it.\n\n  \
           clients    ws{s}://{clients}/v1/ws      (a page to try it: http{s}://{clients}/)\n  \
           REST       http://{rest}/v1/messages\n  \
           metrics    http://{admin}/metrics, http://{rest}/metrics   (also /healthz, /readyz)\n  \
           links      {links}\n  \
           data       {}\n  \
           outbox     {}   (mail and text messages without an account)\n\n\
         From another terminal:\n\n  \
           {} --user alice\n  \
           {} --user alice --title Hi --body there\n  \
           {} --user alice\n  \
           curl -sS -u \"{app}:$({secret})\" -H 'content-type: application/json' http://{rest}/v1/messages \
           -d '{{\"to\":{{\"users\":[\"alice\"]}},\"content\":{{\"title\":\"Hi\",\"body\":\"from curl\"}}}}'\n",
        data.display(),
        run("outbox list"),
        run("listen"),
        run("send"),
        run("token"),
    )
}

/// A path as the shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ':' | '@');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_blanks_and_quotes_survive_the_shell() {
        assert_eq!(quoted(Path::new("/opt/pushgate")), "/opt/pushgate");
        assert_eq!(quoted(Path::new("/my data/it's")), "'/my data/it'\\''s'");
    }
}
