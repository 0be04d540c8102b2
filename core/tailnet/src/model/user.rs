//! Users, and the checks of what is displayed about them.

use headsail_policy::Role;
use headsail_wire::ids::{TAGGED_DEVICES, UserId};
use headsail_wire::text::steers;
use headsail_wire::time::Time;
use headsail_wire::user::UserProfile;

/// A person or role that can own nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Never changes and is never reused.
    pub id: UserId,
    /// Unique among users without an identity provider.
    pub name: String,
    /// May be empty.
    pub display_name: String,
    /// May be empty.
    pub email: String,
    /// Name of the identity provider; empty for a local user.
    pub provider: String,
    /// The identity provider's id of the user; empty for a local user.
    pub provider_id: String,
    /// May be empty.
    pub picture_url: String,
    pub role: Role,
    pub created: Time,
}

/// Maximum length in bytes of user names, display names and e-mail addresses.
pub const MAX_USER_NAME: usize = 255;
/// Maximum length in bytes of a picture's URL.
const MAX_PICTURE_URL: usize = 2048;

impl User {
    /// The login name: the e-mail address if there is one, otherwise the name.
    pub fn login_name(&self) -> &str {
        if self.email.is_empty() { &self.name } else { &self.email }
    }

    /// The name to display: the display name if there is one, otherwise the login name.
    pub fn label(&self) -> &str {
        if self.display_name.is_empty() { self.login_name() } else { &self.display_name }
    }

    /// What clients are sent about the user.
    pub fn profile(&self) -> UserProfile {
        UserProfile {
            id: self.id,
            login_name: self.login_name().to_owned(),
            display_name: self.label().to_owned(),
            profile_pic_url: self.picture_url.clone(),
        }
    }

    /// Checks a user name.
    ///
    /// # Errors
    /// A sentence that says which rule the name breaks.
    pub fn check_name(name: &str) -> Result<(), String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._@+".contains(c);
        let rule = if name.len() < 2 {
            "must have at least 2 characters"
        } else if name.len() > MAX_USER_NAME {
            "must have at most 255 characters"
        } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            "must start with a letter"
        } else if !name.chars().all(allowed) {
            "may contain only letters, digits, `-`, `.`, `_`, `+` and one `@`"
        } else if name.matches('@').count() > 1 {
            "may contain only one `@`"
        } else {
            return Ok(());
        };
        Err(format!("user name `{name}` {rule}"))
    }

    /// Checks the texts that are displayed about a user; each may be empty.
    ///
    /// # Errors
    /// A sentence that says which text breaks which rule.
    pub fn check_shown(display_name: &str, email: &str, picture_url: &str) -> Result<(), String> {
        if display_name.len() > MAX_USER_NAME || display_name.chars().any(steers) {
            return Err(format!(
                "display name `{}` must be plain text of at most {MAX_USER_NAME} bytes",
                legible(display_name)
            ));
        }
        let is_address = |text: &str| {
            text.split_once('@')
                .is_some_and(|(who, at)| !who.is_empty() && !at.is_empty() && !at.contains('@'))
                && !text.chars().any(|c| steers(c) || c.is_whitespace())
        };
        if !email.is_empty() && (email.len() > MAX_USER_NAME || !is_address(email)) {
            return Err(format!("e-mail address `{}` must look like name@example.com", legible(email)));
        }
        let is_url = |text: &str| {
            ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
                && text.chars().all(|c| c.is_ascii_graphic())
        };
        if !picture_url.is_empty() && (picture_url.len() > MAX_PICTURE_URL || !is_url(picture_url)) {
            return Err(
                "the picture of a user must be an http or https URL of at most 2048 characters".into()
            );
        }
        Ok(())
    }
}

/// The beginning of a text, without characters that would garble the message it is quoted in.
fn legible(text: &str) -> String {
    text.chars().take(40).map(|c| if steers(c) { '?' } else { c }).collect()
}

/// The profile that clients see as the owner of every tagged node.
pub fn tagged_devices_profile() -> UserProfile {
    UserProfile {
        id: TAGGED_DEVICES,
        login_name: "tagged-devices".into(),
        display_name: "Tagged Devices".into(),
        profile_pic_url: String::new(),
    }
}
