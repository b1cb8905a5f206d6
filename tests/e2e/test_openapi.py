"""The OpenAPI document is valid, and says what the server really answers."""
import json
import os
import re

from harness import ROOT, UNKNOWN_ID, expect
from test_reconcile import tamper

METHODS = ("get", "post", "put", "patch", "delete")
PYTHON_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}


def source(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def document_of(shop):
    return expect(shop.get("/openapi.json"), 200)


def parts(node):
    """Every object inside a document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from parts(child)


def resolve(document, ref):
    assert ref.startswith("#/"), ref
    node = document
    for step in ref[2:].split("/"):
        assert step in node, f"{ref} leads nowhere"
        node = node[step]
    return node


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def routes():
    """(path, bare, method) of each row of the route table."""
    rows = re.findall(r'\{"(/[^"]*)", (BARE|PREFIXED|STREAM), HTTP_([A-Z]+)_,', source("net/routes.c"))
    assert len(rows) > 10, "the route table looks different; see routes()"
    return [(path, bare == "BARE", method.lower()) for path, bare, method in rows]


def without_names(path):
    return re.sub(r"\{\w+\}", "{}", path)


# ------------------------------------------------------------------------------------------ validator

def check(document, schema, value, where="$"):
    """Of JSON Schema, what the document uses for replies; strict: no member that it does not name."""
    wrong, named = faults(document, schema, value, where)
    if isinstance(value, dict):
        wrong += [f"{where}: undocumented {key}" for key in value if key not in named]
    assert not wrong, wrong


def faults(document, schema, value, where):
    if "$ref" in schema:
        return faults(document, resolve(document, schema["$ref"]), value, where)
    wrong, named = [], set(schema.get("properties", ()))
    for part in schema.get("allOf", ()):
        more, names = faults(document, part, value, where)
        wrong, named = wrong + more, named | names
    kind = schema.get("type")
    if kind and (not isinstance(value, PYTHON_TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
        return wrong + [f"{where}: {value!r} is no {kind}"], named
    if "enum" in schema and value not in schema["enum"]:
        wrong.append(f"{where}: {value!r} is not one of {schema['enum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        wrong.append(f"{where}: {value!r} does not fit {schema['pattern']}")
    if not schema.get("minimum", value) <= value <= schema.get("maximum", value) if kind == "integer" else False:
        wrong.append(f"{where}: {value!r} is out of bounds")
    if isinstance(value, dict):
        wrong += [f"{where}: lacks {key}" for key in schema.get("required", ()) if key not in value]
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                wrong += whole(document, inner, value[key], f"{where}.{key}")
    if isinstance(value, list) and "items" in schema:
        for place, item in enumerate(value):
            wrong += whole(document, schema["items"], item, f"{where}[{place}]")
    return wrong, named


def whole(document, schema, value, where):
    wrong, named = faults(document, schema, value, where)
    if isinstance(value, dict):
        wrong += [f"{where}: undocumented {key}" for key in value if key not in named]
    return wrong


def response_for(document, operation, status):
    """What the operation says of a status: `default` speaks only of those that are not listed."""
    response = operation["responses"].get(str(status)) or operation["responses"]["default"]
    return resolve(document, response["$ref"]) if "$ref" in response else response


def check_reply(document, path, method, reply):
    """The reply's status and media type are what this operation lists, and its body fits their schema."""
    response = response_for(document, document["paths"]["/api/v1" + path][method], reply.status)
    for name, header in response.get("headers", {}).items():
        value = reply.header(name)
        check(document, header["schema"], int(value) if header["schema"]["type"] == "integer" else value, f"{method} {path} {name}")
    kind = reply.header("content-type")
    assert kind in response["content"], f"{method} {path} {reply.status} does not list {kind}"
    check(document, response["content"][kind]["schema"], reply.json, f"{method} {path} {reply.status}")


# ---------------------------------------------------------------------------------------------- tests

def test_the_document_is_served_with_and_without_the_prefix(t):
    shop = t.shop()
    reply = shop.get("/openapi.json")
    assert reply.status == 200 and reply.header("content-type") == "application/json", reply
    assert reply.json["openapi"].startswith("3.1"), reply
    assert reply.json == json.loads(source("net/openapi.json")), "the program holds another document"
    assert shop.request("GET", "/openapi.json").body == reply.body


def test_every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own(t):
    document = document_of(t.shop())
    refs = {part["$ref"] for part in parts(document) if "$ref" in part}
    assert refs, "no $ref at all"
    for ref in refs:
        resolve(document, ref)
    for kind in ("parameters", "responses", "schemas"):
        for name in document["components"][kind]:
            used = f"#/components/{kind}/{name}" in refs
            assert used or f"({name}" in json.dumps(document) or f"or {name})" in json.dumps(document), name
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names)), names
    for path, method, operation in operations(document):
        given = [resolve(document, one["$ref"]) for one in operation.get("parameters", ())]
        in_path = {one["name"] for one in given if one["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), f"{method} {path}: {in_path}"


def test_the_document_lists_exactly_the_routes(t):
    document = document_of(t.shop())
    listed = {(without_names(path), method) for path, method, _ in operations(document)}
    assert listed == {("/api/v1" + path, method) for path, _, method in routes()}, listed
    bare = {(path, method): also for path, also, method in routes()}
    for path, method, operation in operations(document):
        says = "Also served without `/api/v1`" in operation["description"]
        assert says == bare[without_names(path)[len("/api/v1"):], method], f"{method} {path}"


def test_the_server_knows_everything_that_the_document_lists(t):
    shop = t.shop()
    document = document_of(shop)
    for path, method, operation in operations(document):
        asked = re.sub(r"\{\w+\}", UNKNOWN_ID, path)
        streams = "text/event-stream" in operation["responses"]["200"]["content"] if method == "get" else False
        asked += "?saleId=x" if streams else ""  # refused before a stream begins
        reply = shop.request(method.upper(), asked)
        known = reply.status != 405 and b"there is nothing at this path" not in reply.body
        assert known, f"{method} {path}: {reply!r}"
        assert str(reply.status) in operation["responses"], f"{method} {path} does not list {reply!r}"


def test_what_the_http_layer_refuses_anywhere_every_operation_lists(t):
    shop = t.shop()
    document = document_of(shop)
    refusals = re.findall(r'\b(\d{3}), "([a-z-]+)"', source("net/http.c") + source("net/conn.c"))
    assert {("400", "bad-request"), ("503", "out-of-memory"), ("408", "request-timeout")} <= set(refusals), refusals
    for path, method, operation in operations(document):
        for status, code in refusals:
            problem = {"type": "urn:flashd:problem:" + code, "title": "", "status": int(status), "detail": "", "code": code}
            schema = response_for(document, operation, status)["content"]["application/problem+json"]["schema"]
            check(document, schema, problem, f"{method} {path} {status}")
        with shop.wire() as wire:
            asked = re.sub(r"\{\w+\}", UNKNOWN_ID, path)
            wire.send(f"{method.upper()} {asked} HTTP/1.1\r\nHost: x\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n")
            reply = wire.read_reply()
        assert reply.status == 400, reply
        check_reply(document, path[len("/api/v1"):], method, reply)


def test_every_outcome_and_every_event_is_in_the_document(t):
    text = json.dumps(document_of(t.shop()))
    outcomes = re.findall(r'X\([A-Z_]+, \d+, "([a-z-]+)"', source("engine/outcome.h"))
    events = re.findall(r'X\([A-Z_]+, "([a-z._]+)", ORDER_', source("engine/event.h"))
    assert len(outcomes) > 5 and len(events) > 10, (outcomes, events)
    for word in outcomes + events:
        assert f'"{word}"' in text, word


def test_answers_are_as_documented(t):
    shop = t.shop()
    document = document_of(shop)
    named = {"buyerName": "ann"}

    def look(path, method="get", body=None, at=None, status=None, **options):
        reply = shop.request(method.upper(), "/api/v1" + (at or path), body, **options)
        assert status in (None, reply.status), f"{method} {path}: {reply!r}"
        check_reply(document, path, method, reply)
        return reply.json

    sale = shop.open_sale(stock=1, waitlistMax=1)
    look("/sales", "post", {"name": "x"}, status=400, token=shop.admin)
    look("/sales", "post", {"name": "x"}, status=401)
    look("/sales", "post", status=415, token=shop.admin)
    look("/sales", status=200)
    look("/sales/{id}", at="/sales/" + sale, status=200)
    look("/sales/{id}", at="/sales/" + UNKNOWN_ID, status=404)
    look("/sales/{id}/eligible", "post", named, at=f"/sales/{sale}/eligible", status=200)
    held = look("/buy", "post", {**named, "saleId": sale}, status=201)
    look("/buy", "post", {**named, "saleId": sale}, status=400)
    look("/sales/{id}/eligible", "post", named, at=f"/sales/{sale}/eligible", status=400)
    waits = look("/buy", "post", {"buyerName": "bob"}, status=201)
    assert waits["state"] == "waiting", waits
    assert look("/buy", "post", {"buyerName": "cy"}, status=400)["code"] == "waitlist-full"
    for order in (held, waits):
        look("/transactions/{id}", at="/transactions/" + order["transactionId"], status=200)
    ask = {"transactionId": held["transactionId"]}
    look("/pay", "post", {**ask, "quantity": 2}, status=400)
    look("/pay", "post", ask, status=200)
    look("/paid", "post", ask, status=400)
    look("/cancel", "post", ask, status=400)
    look("/cancel", "post", b"{", status=400)
    keyed = {"headers": {"Idempotency-Key": "k"}}
    for path in ("/buy", "/paid", "/cancel"):
        body = {**named, "saleId": sale} if path == "/buy" else ask
        assert look(path, "post", body, status=400, **keyed) == look(path, "post", body, status=400, **keyed)
        look(path, "post", {**body, "more": 1}, status=422, **keyed)
    look("/transactions/{id}", at="/transactions/" + waits["transactionId"], status=200)
    for token in (None, shop.admin):
        look("/sales/{id}/buyers", at=f"/sales/{sale}/buyers", status=200, token=token)
    look("/sales/{id}/buyers", at=f"/sales/{sale}/buyers?limit=0", status=400)
    for verb in ("pause", "resume"):
        look("/sales/{id}/" + verb, "post", at=f"/sales/{sale}/{verb}", status=200, token=shop.admin)
    look("/admin/reconcile", status=200, token=shop.admin)
    look("/admin/reconcile", "post", status=200, token=shop.admin)
    tamper(shop, "UPDATE order_rows SET buyer = 'mallory'")
    assert look("/admin/reconcile", "post", status=200, token=shop.admin)["last"]["divergent"] == 1
    assert look("/sales/{id}", at="/sales/" + sale, status=200)["pauseReason"] == "reconcile-failed"
    look("/sales/{id}/end", "post", at=f"/sales/{sale}/end", status=200, token=shop.admin)
    look("/sales/{id}/pause", "post", at=f"/sales/{sale}/pause", status=400, token=shop.admin)
    for probe in ("live", "ready", "sse"):
        look("/health/" + probe, status=200)
    shop = t.shop(env={"FLASHD_PAYMENT_SECRET": "pay-secret"})
    assert look("/paid", "post", ask, status=401)["code"] == "bad-signature"
