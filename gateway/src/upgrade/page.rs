//! The page of a development server: connect, see pushes, acknowledge, send.

const PAGE: &str = include_str!("page.html");
const REST: &str = "{{REST}}";

/// The page, sending through the REST address `rest_url`, such as `http://127.0.0.1:7410`.
pub fn page(rest_url: &str) -> Vec<u8> {
    // It lands in a script's string: only what a URL of host and port has is let through.
    let url: String = rest_url.chars().filter(|c| c.is_ascii_alphanumeric() || ":/.-_[]".contains(*c)).collect();
    PAGE.replace(REST, &url).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_address_cannot_break_out_of_its_string() {
        let page = String::from_utf8(page("http://127.0.0.1:7410\";</script>")).unwrap();
        assert!(page.contains("const rest = \"http://127.0.0.1:7410/script\";"));
        assert!(!page.contains(REST));
    }
}
