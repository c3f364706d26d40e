"""Mail as people keep it: mailboxes, folders of messages, in the encodings mail comes in."""

import importlib.util
import json
import mailbox
import random
from email.message import EmailMessage
from pathlib import Path

import pytest

from whence.cli.small.classifying.classify import classify
from whence.errors import WhenceError
from whence.play.texts.mail import read_folder, text_of
from whence.play.texts.messages import MESSAGES


def message(subject: str, text: str, **how) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@example.org", "b@example.org", subject
    made.set_content(text, **how)
    return made


def test_subject_and_text_in_every_encoding():
    for how in (
        {"cte": "base64"},
        {"cte": "quoted-printable"},
        {"charset": "iso-8859-1"},
        {"charset": "utf-8", "cte": "8bit"},
    ):
        raw = message("Grüße aus Köln", "Ich komme später,\nwarte nicht.", **how).as_bytes()
        assert text_of(raw) == "Grüße aus Köln Ich komme später, warte nicht."


def test_html_is_read_only_where_there_is_no_plain_text():
    both = message("Offer", "plain words")
    both.add_alternative("<p>HTML <b>words</b></p>", subtype="html")
    both.add_attachment(b"\0\1", maintype="application", subtype="pdf", filename="x.pdf")
    assert text_of(both.as_bytes()) == "Offer plain words"
    page = "<style>p {color: red}</style><p>Click&nbsp;here</p><script>x()</script><br>now"
    only = message("Offer", page, subtype="html")
    assert text_of(only.as_bytes()) == "Offer Click here now"


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: x\nContent-Type: text/plain; charset=no-such\n\nhello",
        b"Subject: x\nContent-Type: text/plain; charset=utf-8\n\nhello \xff",
        b"Subject: x\nContent-Transfer-Encoding: base64\n\n*hello*",
        b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nhello",
        b"Subject: x\nContent-Type: text/html\n\n<![if !mso]><p>hello<![endif]",
        b"Subject: x\nFrom: =?bad?q?\nDate: never\n\nhello",
    ],
)
def test_crooked_messages_still_say_something(raw):
    assert text_of(raw).startswith("x")


def test_the_messages_that_python_tests_its_own_parser_with():
    spec = importlib.util.find_spec("test.test_email")
    if spec is None or spec.origin is None:
        pytest.skip("this Python comes without its tests")
    paths = sorted((Path(spec.origin).parent / "data").glob("msg_*.txt"))
    assert len(paths) > 40
    texts = [text_of(path.read_bytes()) for path in paths]
    assert sum(map(bool, texts)) > 0.9 * len(texts)


@pytest.fixture
def mail(tmp_path) -> Path:
    """Half of the messages in mailboxes, half as files in folders."""
    boxes = {}
    for number, (label, text) in enumerate(MESSAGES):
        folder = tmp_path / "my mail" / label
        folder.mkdir(parents=True, exist_ok=True)
        made = message(text[:20], text[20:])
        if number % 2:
            (folder / f"{number}.eml").write_bytes(made.as_bytes())
            continue
        if label not in boxes:
            boxes[label] = mailbox.mbox(folder / "Inbox")
        boxes[label].add(mailbox.mboxMessage(made))
    for box in boxes.values():
        box.close()
    (tmp_path / "my mail/.hidden").write_text("nothing")
    return tmp_path / "my mail"


def test_folders_of_mail_are_classes(mail, capsys):
    found = read_folder(mail)
    assert len(found) == len(MESSAGES)
    wanted = {(label, "".join(text.split())) for label, text in MESSAGES}
    assert {(label, "".join(text.split())) for label, text in found} == wanted
    assert len(read_folder(mail, most=10)) == 10
    classify(str(mail), json=True)
    assert json.loads(capsys.readouterr().out)["right"] >= 12


def test_mailboxes_and_plain_texts_are_classes(tmp_path):
    for label in ("ham", "spam"):
        box = mailbox.mbox(tmp_path / f"{label}.mbox")
        for kind, text in MESSAGES:
            if kind == label:
                box.add(mailbox.mboxMessage(message("", text)))
        box.close()
    assert sorted(read_folder(tmp_path)) == sorted(MESSAGES)
    other = tmp_path / "texts"
    draw = random.Random(0)
    for label, text in draw.sample(MESSAGES, k=20):
        (other / label).mkdir(parents=True, exist_ok=True)
        (other / label / f"{draw.random()}.txt").write_text(text, encoding="utf-8")
    assert len(read_folder(other)) == 20


def test_folders_without_classes(tmp_path):
    (tmp_path / "ham").mkdir()
    (tmp_path / "ham/a.eml").write_bytes(message("x", "y").as_bytes())
    (tmp_path / "ham/picture.png").write_bytes(b"\x89PNG\0\0")
    with pytest.raises(WhenceError, match="has 1 class in 1 lines"):
        read_folder(tmp_path)
