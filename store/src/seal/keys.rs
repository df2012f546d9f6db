//! The text of a key file: a key a line, the last one is the newest.

use zeroize::Zeroizing;

use super::SealKey;

/// More keys than that are no rotation.
const MAX_KEYS: usize = 1024;

type Secret = Zeroizing<[u8; SealKey::SECRET_BYTES]>;

/// The keys of a file, in its order; empty lines and what stands behind `#` count nothing. What is wrong with it names the line, never what
/// stands there.
pub(super) fn parse(text: &[u8]) -> Result<Vec<SealKey>, String> {
    let mut keys = Vec::new();
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        let words = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let word = words.trim_ascii();
        if word.is_empty() {
            continue;
        }
        let secret = secret(word).ok_or_else(|| {
            format!("line {number} is no key: 32 bytes as 64 hexadecimal digits, or in base64")
        })?;
        if secret.iter().all(|byte| *byte == secret[0]) {
            return Err(format!("the key in line {number} is not random"));
        }
        if keys.len() == MAX_KEYS {
            return Err(format!("there are more than {MAX_KEYS} keys in it"));
        }
        keys.push(SealKey::new(&secret));
    }
    match keys.is_empty() {
        true => Err("there is no key in it".to_owned()),
        false => Ok(keys),
    }
}

fn secret(word: &[u8]) -> Option<Secret> {
    match word.len() {
        64 => of_hexadecimal(word),
        44 => of_base64(word),
        _ => None,
    }
}

fn of_hexadecimal(word: &[u8]) -> Option<Secret> {
    let mut secret = Secret::default();
    let digit = |digit: u8| char::from(digit).to_digit(16);
    for (byte, [high, low]) in secret.iter_mut().zip(word.as_chunks::<2>().0) {
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(secret)
}

/// 43 digits of six bits, the last of which has two bits too many, and the sign that fills up.
fn of_base64(word: &[u8]) -> Option<Secret> {
    let (mut secret, mut bits, mut known) = (Secret::default(), 0_u32, 0);
    let mut bytes = secret.iter_mut();
    for digit in word.strip_suffix(b"=")? {
        bits = bits << 6 | u32::from(of_digit(*digit)?);
        known += 6;
        if known >= 8 {
            known -= 8;
            *bytes.next()? = (bits >> known & 0xff) as u8;
        }
    }
    (bits & 0b11 == 0).then_some(())?;
    Some(secret)
}

fn of_digit(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEXADECIMAL: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn ids(text: &str) -> Result<Vec<String>, String> {
        let keys = parse(text.as_bytes())?;
        Ok(keys.iter().map(|key| key.id().to_string()).collect())
    }

    #[test]
    fn a_key_is_the_same_in_either_form() {
        let both = format!("# made today\n{HEXADECIMAL}\n\n  {BASE64} # again\r\n");
        let ids = ids(&both).unwrap();
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_line_and_not_repeated() {
        for (text, word) in [
            ("", "no key in it"),
            ("# nothing\n", "no key in it"),
            ("secret", "line 1"),
            (&format!("{HEXADECIMAL}\n{}", &HEXADECIMAL[1..]), "line 2"),
            (&HEXADECIMAL.replace("0f", "xx"), "line 1"),
            (&BASE64.replace('=', "A"), "line 1"),
            (&BASE64.replace("8=", "9="), "line 1"),
            (&"00".repeat(32), "not random"),
            (&format!("{HEXADECIMAL}\n").repeat(1025), "1024"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("secret"));
        }
    }
}
