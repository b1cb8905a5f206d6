"""test_tokens.py: tokens and roles guard what the contract says; payments may need a signature."""
import hashlib
import hmac
import json
import time

from harness import SECRET, expect, expect_problem, mint, now_ms, run_flashd, sign

SALE = {"name": "x", "productQty": 5, "startsAt": 1, "endsAt": 4102444800000}
PAYMENT_SECRET = "the-payment-provider's-secret-0123456789"


def in_a_minute():
    return now_ms() // 1000 + 60


def test_what_needs_an_administrator_is_401_without_a_token_and_403_with_another_role(t):
    shop = t.shop()
    sale = shop.open_sale(stock=1)
    for path, body in (("/sales", SALE), (f"/sales/{sale}/pause", None), (f"/sales/{sale}/resume", None),
                       (f"/sales/{sale}/end", None)):
        reply = shop.post(path, body)
        expect_problem(reply, 401, "unauthorized")
        assert "bearer" in (reply.header("www-authenticate") or "").lower(), reply.fields
        for claims in ({"role": "consumer"}, {}, {"role": "ADMIN"}, {"role": ""}, {"role": "root"}):
            token = mint(sub="ann", exp=in_a_minute(), **claims)
            reply = shop.post(path, body, token=token)
            if claims.get("role") == "root":
                assert reply.status in (401, 403), reply
            else:
                assert reply.status in ((403,) if claims.get("role") in ("consumer", None) else (401, 403)), reply
    assert shop.sale(sale)["state"] == "ACTIVE"
    assert len(expect(shop.get("/sales"), 200)["sales"]) == 1


def test_who_is_not_allowed_learns_nothing_about_the_body(t):
    shop = t.shop()
    expect_problem(shop.post("/sales", b"not json"), 401, "unauthorized")
    expect_problem(shop.post("/sales", {}), 401, "unauthorized")


def test_a_token_that_is_not_right_in_every_way_is_401(t):
    shop = t.shop()
    good = dict(sub="boss", role="admin")
    soon = in_a_minute()
    whole = mint(exp=soon, **good)
    head, claims, signature = whole.split(".")
    tampered = mint("another-secret-of-at-least-32-bytes!", exp=soon, **good).split(".")[1]
    bad = {
        "signed with another key": mint("another-secret-of-at-least-32-bytes!", exp=soon, **good),
        "expired": mint(exp=now_ms() // 1000 - 1, **good),
        "without exp": mint(**good),
        "exp as text": mint(exp=str(soon), **good),
        "without sub": mint(role="admin", exp=soon),
        "not valid yet": mint(exp=soon, nbf=soon - 20, **good),
        "alg none": mint(header={"alg": "none", "typ": "JWT"}, exp=soon, **good),
        "alg none in capitals": mint(header={"alg": "NONE"}, exp=soon, **good),
        "alg HS512": mint(header={"alg": "HS512", "typ": "JWT"}, exp=soon, **good),
        "alg HS384": mint(header={"alg": "HS384", "typ": "JWT"}, exp=soon, **good),
        "without alg": mint(header={"typ": "JWT"}, exp=soon, **good),
        "signature cut": whole[:-4],
        "signature missing": f"{head}.{claims}.",
        "two parts": f"{head}.{claims}",
        "four parts": whole + ".x",
        "claims of another token": f"{head}.{mint(exp=soon, sub='evil', role='admin').split('.')[1]}.{signature}",
        "not base64": "!!.??.**",
        "empty": "",
        "a word": "admin",
        "long": "x" * 3000,
    }
    assert tampered
    for what, token in bad.items():
        reply = shop.post("/sales", SALE, headers={"Authorization": "Bearer " + token})
        assert reply.status == 401, f"{what}: {reply!r}"
        expect_problem(reply, 401, "unauthorized")
    for header in ("Basic Ym9zczpib3Nz", "Bearer", "Token " + whole, whole):
        expect_problem(shop.post("/sales", SALE, headers={"Authorization": header}), 401, "unauthorized")
    assert expect(shop.get("/sales"), 200)["sales"] == []
    expect(shop.post("/sales", SALE, token=whole), 201)


def test_a_token_may_come_as_a_header_a_cookie_or_a_query(t):
    shop = t.shop()
    token = mint(sub="boss", role="admin", exp=in_a_minute())
    expect(shop.post("/sales", SALE, headers={"Authorization": "bearer " + token}), 201)
    expect(shop.post("/sales", SALE, headers={"Cookie": f"a=b; flashd_token={token}; c=d"}), 201)
    expect(shop.post("/sales?token=" + token, SALE), 201)
    expect(shop.post("/sales?a=b&token=" + token, SALE), 201)
    expect_problem(shop.post("/sales", SALE, headers={"Cookie": f"xflashd_token={token}"}), 401, "unauthorized")
    expect_problem(shop.post("/sales?xtoken=" + token, SALE), 401, "unauthorized")


def test_a_token_expires(t):
    shop = t.shop()
    token = mint(sub="boss", role="admin", exp=now_ms() // 1000 + 2)
    expect(shop.post("/sales", SALE, token=token), 201)
    time.sleep(2.1)
    expect_problem(shop.post("/sales", SALE, token=token), 401, "unauthorized")


def test_without_a_configured_key_every_token_is_401_and_the_rest_works(t):
    shop = t.shop(secret=None)
    for token in (mint(sub="boss", role="admin", exp=in_a_minute()), mint("", sub="boss", role="admin", exp=in_a_minute())):
        expect_problem(shop.post("/sales", SALE, token=token), 401, "unauthorized")
    expect_problem(shop.post("/sales", SALE), 401, "unauthorized")
    assert expect(shop.get("/sales"), 200) == {"sales": []}


def test_flashd_mints_tokens_that_a_third_party_understands(t):
    import base64
    for role in ("admin", "consumer"):
        minted = run_flashd(["token", "--role", role, "--sub", "zoë", "--ttl", "120"], env={"FLASHD_JWT_SECRET": SECRET})
        assert minted.returncode == 0 and minted.stdout.count("\n") == 1, minted
        head, claims, signature = minted.stdout.strip().split(".")
        expected = hmac.new(SECRET.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
        assert base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)) == expected
        told = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        assert (told["sub"], told["role"]) == ("zoë", role)
        assert abs(told["exp"] - (now_ms() / 1000 + 120)) < 5
        written = run_flashd(["token", f"--role={role}", "--sub=zoë", "--ttl=120"], env={"FLASHD_JWT_SECRET": SECRET})
        assert written.returncode == 0 and len(written.stdout) == len(minted.stdout), written


def test_flashd_token_without_a_role_mints_a_users_token_not_an_admins(t):
    shop = t.shop()
    minted = run_flashd(["token", "--sub", "ann"], env={"FLASHD_JWT_SECRET": SECRET})
    assert minted.returncode == 0, minted
    expect_problem(shop.post("/sales", SALE, token=minted.stdout.strip()), 403, "forbidden")


def test_flashd_token_refuses_what_makes_no_token(t):
    key = {"FLASHD_JWT_SECRET": SECRET}
    for args, env in ((["--role", "king", "--sub", "a", "--ttl", "60"], key), (["--role", "admin", "--sub", "", "--ttl", "60"], key),
                      (["--role", "admin", "--sub", "a", "--ttl", "0"], key), (["--role", "admin", "--sub", "a", "--ttl", "x"], key),
                      (["--role", "admin", "--sub", "a", "--ttl", "60"], {}),
                      (["--role", "admin", "--sub", "a" * 65, "--ttl", "60"], key)):
        ended = run_flashd(["token"] + args, env=env)
        assert ended.returncode == 2 and ended.stdout == "" and ended.stderr.count("\n") == 1, (args, ended)


def test_flashd_token_refuses_a_flag_that_is_given_twice_as_serve_does(t):
    for flag, value in (("--role", "admin"), ("--sub", "ann"), ("--ttl", "60"), ("--jwt-secret-file", "/dev/null")):
        for again in ([flag, value], [f"{flag}={value}"]):
            ended = run_flashd(["token", flag, value] + again, env={"FLASHD_JWT_SECRET": SECRET})
            assert ended.returncode == 2 and ended.stdout == "" and f"{flag}: given twice; allowed: once" in ended.stderr, ended


def test_tokens_and_query_strings_are_never_logged(t):
    shop = t.shop("--log-level", "debug")
    token = mint(sub="boss", role="admin", exp=in_a_minute())
    shop.post("/sales?token=" + token, SALE)
    shop.post("/sales?token=" + token + "x", SALE)
    shop.get("/sales?secret-word=1", headers={"Cookie": "flashd_token=" + token})
    shop.get("/nothing?secret-word=1", token=token)
    log = shop.log()
    for part in token.split(".")[1:] + ["secret-word"]:
        assert part not in log, log


def test_transaction_ids_and_names_are_not_logged_at_info(t):
    shop = t.shop()
    sale = shop.open_sale(stock=2, holdMs=100)
    order = shop.must_hold(sale, "ann-the-secretive")
    shop.until_order(order, "expired")
    shop.must_pay(shop.must_hold(sale, "bob-the-secretive"))
    assert order not in shop.log() and "secretive" not in shop.log()


def test_a_payment_needs_a_signature_when_a_secret_is_set(t):
    shop = t.shop(env={"FLASHD_PAYMENT_SECRET": PAYMENT_SECRET})
    sale = shop.open_sale(stock=5)
    order = shop.must_hold(sale, "ann")
    body = json.dumps({"transactionId": order}).encode()
    right = sign(PAYMENT_SECRET, body)
    wrong = ["", "sha256=", right[7:], "sha1=" + right[7:], right[:-1], right + "0", right[:-1] + "g",
             sign("another-secret-0123456789-0123456789", body), sign(PAYMENT_SECRET, body + b" "),
             right[:-1] + ("0" if right[-1] != "0" else "1")]
    unsigned = shop.post("/paid", body)
    expect_problem(unsigned, 401, "bad-signature")
    assert unsigned.header("www-authenticate") == "Flashd-Signature", "a token would not help"
    for signature in wrong:
        expect_problem(shop.post("/paid", body, headers={"X-Flashd-Signature": signature}), 401, "bad-signature")
    assert shop.order(order)["state"] == "payment"
    expect_problem(shop.post("/paid", body + b" ", headers={"X-Flashd-Signature": right}), 401, "bad-signature")
    expect(shop.post("/paid", body, headers={"X-Flashd-Signature": right}), 200)
    assert shop.order(order)["state"] == "paid"


def test_an_unsigned_payment_learns_nothing_about_the_transaction(t):
    shop = t.shop(env={"FLASHD_PAYMENT_SECRET": PAYMENT_SECRET})
    for body in (b"not json", b"{}", b'{"transactionId":"0123456789abcdef01234567"}'):
        expect_problem(shop.post("/paid", body), 401, "bad-signature")


def test_without_a_payment_secret_a_signature_is_not_looked_at(t):
    shop = t.shop()
    sale = shop.open_sale(stock=5)
    order = shop.must_hold(sale, "ann")
    expect(shop.post("/paid", {"transactionId": order}, headers={"X-Flashd-Signature": "nonsense"}), 200)
