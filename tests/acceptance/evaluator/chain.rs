//! From a ten-line bash probe to a page and back: the whole way, with a real mail server.
//!
//! Invariant: nothing on the way is replaced by a stand-in but the chat service.

use tests::mail_server::{MailServer, header};
use tests::wait_until;

use crate::rig::Rig;

#[test]
fn a_check_that_fails_is_told_by_mail_and_chat_and_so_is_its_end() {
    let mail = MailServer::start();
    let rig = Rig::start_with(&mail);
    rig.break_check();
    wait_until("the mail of the failure", || mail.messages().len() == 1);
    wait_until("the chat message of the failure", || rig.chat().len() == 1);
    let first = &mail.messages()[0];
    assert_eq!(header(first, "to"), "oncall@veilleur.test");
    assert!(header(first, "subject").contains("CheckFailed"), "{first}");
    assert!(header(first, "subject").contains("FIRING"), "{first}");
    // Over STARTTLS (S) and with a password (A).
    assert!(header(first, "received").contains("ESMTPSA"), "{first}");
    assert!(header(first, "content-type").starts_with("multipart/alternative"), "{first}");
    for part in ["text/plain", "text/html", "42 orders wait"] {
        assert!(first.contains(part), "{part} is missing in\n{first}");
    }
    let said = rig.chat()[0].to_string();
    for part in ["CheckFailed", "42 orders wait", "#ops", "FIRING"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }

    rig.mend_check();
    wait_until("the mail of the end", || mail.messages().len() == 2);
    wait_until("the chat message of the end", || rig.chat().len() == 2);
    let second = &mail.messages()[1];
    assert!(header(second, "subject").contains("RESOLVED"), "{second}");
    // The same thread: what a mail program groups by.
    let id = header(first, "message-id");
    assert_ne!(header(second, "message-id"), id);
    assert_eq!(header(second, "in-reply-to"), id);
    assert!(header(second, "references").contains(&id), "{second}");
    assert!(rig.chat()[1].to_string().contains("RESOLVED"));

    // A new failure is a thread of its own.
    rig.break_check();
    wait_until("the mail of the next failure", || mail.messages().len() == 3);
    let third = &mail.messages()[2];
    assert!(!third.to_lowercase().contains("\nin-reply-to"), "{third}");
}
