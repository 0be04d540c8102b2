//! Certificates that the server creates: its own if none is configured, and the one that has the relay's key.

use std::net::IpAddr;
use std::path::Path;

use headsail_wire::keys::hex;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::TlsError;
use crate::system::files;

/// How long our certificates are valid, and how long before they expire a new one is created.
const YEARS: i64 = 10;
const RENEW_DAYS: i64 = 90;
/// Fields in front of the PEM block, so that no X.509 parser is needed to know what the certificate covers.
const NAMES: &str = "names: ";
const UNTIL: &str = "until: ";
/// Larger files are not ours.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The version of the DERP protocol: the serial number of [`relay_key_certificate`].
const DERP_VERSION: u64 = 2;

/// Makes sure that the files contain a certificate that covers all of `names` (addresses and DNS names) and does not expire
/// soon. Otherwise it creates a new one: P-256, ten years.
pub(super) fn ensure_self_signed(
    cert: &Path,
    key: &Path,
    names: &[String],
    now: Timestamp,
) -> Result<(), TlsError> {
    if key.is_file() && covers(cert, names, today(now)) {
        return Ok(());
    }
    let (cert_text, key_text) = self_signed(names, today(now)).map_err(|error| TlsError::create(&error))?;
    // The key is written first: a crash between the two leaves a pair that does not match and is replaced at the next load.
    for (path, text) in [(key, key_text), (cert, cert_text)] {
        let dir = path.parent().unwrap_or(Path::new(""));
        files::private_dir(dir)
            .and_then(|()| files::write_private(path, text.as_bytes()))
            .map_err(|error| TlsError::file(path, &error))?;
    }
    Ok(())
}

/// Whether the certificate file, by its fields, covers all these names and is valid for long enough.
fn covers(cert: &Path, names: &[String], today: Date) -> bool {
    let Ok(text) = files::read_bounded(cert, MAX_FILE_BYTES) else { return false };
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let covered: Vec<&str> = field(NAMES).unwrap_or_default().split(", ").collect();
    let until: Option<Date> = field(UNTIL).and_then(|date| date.parse().ok());
    let Ok(needed) = today.checked_add(Span::new().days(RENEW_DAYS)) else { return false };
    until.is_some_and(|until| until > needed) && names.iter().all(|name| covered.contains(&name.as_str()))
}

/// A new certificate and its key in PEM.
fn self_signed(names: &[String], today: Date) -> Result<(String, String), rcgen::Error> {
    let until = today.saturating_add(Span::new().years(YEARS));
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(|name| alt_name(name)).collect::<Result<_, _>>()?;
    params.distinguished_name = common_name("Headsail self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    set_dates(&mut params, today, until);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = params.self_signed(&key)?;
    let preamble = format!("Made by headsail.\n{NAMES}{}\n{UNTIL}{until}\n", names.join(", "));
    Ok((preamble + &cert.pem(), key.serialize_pem()))
}

fn alt_name(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse::<IpAddr>() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

/// The certificate that a relay appends to its chain, so that clients learn its key during the TLS handshake and need no HTTP
/// response. The common name is `derpkey` and the key in hex; the serial number is the protocol version
/// (`derphttp.parseMetaCert` of the Go client).
pub(super) fn relay_key_certificate(
    relay_key: &[u8; 32],
    now: Timestamp,
) -> Result<CertificateDer<'static>, TlsError> {
    let make = || {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(DERP_VERSION));
        params.distinguished_name = common_name(&format!("derpkey{}", hex(relay_key)));
        // macOS requires basic constraints in a certificate that is its own issuer.
        params.is_ca = IsCa::ExplicitNoCa;
        let today = today(now);
        set_dates(&mut params, today, today.saturating_add(Span::new().years(YEARS)));
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        Ok(params.self_signed(&key)?.der().clone())
    };
    make().map_err(|error: rcgen::Error| TlsError::create(&error))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Valid from the day before, for clients whose clocks are slow.
fn set_dates(params: &mut CertificateParams, today: Date, until: Date) {
    let midnight = |date: Date| {
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = midnight(today.saturating_sub(Span::new().days(1)));
    params.not_after = midnight(until);
}

fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_kept_until_it_lacks_a_name_or_expires_soon() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("d/c.crt"), dir.path().join("d/c.key"));
        let ensure = |list: &[&str], now: &str| {
            ensure_self_signed(&cert, &key, &names(list), now.parse().unwrap()).unwrap();
            fs::read_to_string(&cert).unwrap()
        };
        let first = ensure(&["192.168.1.5", "fd00::1", "localhost"], "2026-11-22T12:00:00Z");
        assert!(
            first.starts_with(
                "Made by headsail.\nnames: 192.168.1.5, fd00::1, localhost\nuntil: 2036-11-22\n"
            )
        );
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ensure(&["localhost", "192.168.1.5"], "2036-01-01T00:00:00Z"), first);
        assert!(ensure(&["192.168.1.6"], "2026-11-22T12:00:00Z") != first);
        let second = ensure(&["localhost"], "2026-11-22T12:00:00Z");
        assert!(ensure(&["localhost"], "2036-10-01T00:00:00Z") != second);
        fs::remove_file(&key).unwrap();
        let third = ensure(&["localhost"], "2036-10-01T00:00:00Z");
        assert!(third.contains("until: 2046-10-01"));
    }

    #[test]
    fn the_relay_key_certificate_has_the_key_as_name_and_the_version_as_serial() {
        let der = relay_key_certificate(&[0xab; 32], Timestamp::now()).unwrap();
        let wanted = format!("derpkey{}", "ab".repeat(32));
        assert!(der.windows(wanted.len()).any(|part| part == wanted.as_bytes()));
        // version [0] 2, then serial INTEGER 2
        assert!(der.windows(8).any(|part| part == [0xa0, 3, 2, 1, 2, 2, 1, 2]));
    }
}
