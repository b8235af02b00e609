"""The schema, the docs page and docs/reference/api.md agree with the code."""

import re
from pathlib import Path

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from monitoring.api import urls as monitoring
from recommender import errors
from recommender.api import urls
from recommender.intake.event_rows import REJECTIONS
from recommender.intake.item_rows import ITEM_REJECTIONS
from recommender.serving.list_ids import SOURCES

LIST_ROW = r"^\| `GET (/api/v1/(?:trending|recommendations|items/\{id\}/similar))` \|(.*)"
DOCS = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "api.md").read_text()


@pytest.fixture(scope="module")
def schema():
    return SchemaGenerator().get_schema(request=None, public=True)


@pytest.mark.parametrize("code", sorted({error.code for error in errors.ALL} | {*REJECTIONS} | {*ITEM_REJECTIONS}))
def test_every_code_is_documented(code):
    assert f"| `{code}` |" in DOCS


def test_no_code_is_documented_that_is_never_sent():
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", DOCS, re.MULTILINE))
    assert documented == {error.code for error in errors.ALL} | {*REJECTIONS} | {*ITEM_REJECTIONS}


def test_every_error_is_documented_with_its_status():
    for error in errors.ALL:
        assert f"| `{error.code}` | {error.status} |" in DOCS


def test_every_address_is_documented(schema):
    for path, methods in schema["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in DOCS


def test_the_schema_is_valid_and_knows_every_address(schema):
    validate_schema(schema)
    routes = {
        "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(entry.pattern))
        for entry in (*urls.urlpatterns, *monitoring.urlpatterns)
    }
    assert set(schema["paths"]) == routes


def test_the_schema_says_how_to_be_let_in(schema):
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            wants_key = path.startswith("/api/")
            assert ({"key": []} in operation.get("security", [])) == wants_key
            if wants_key:
                assert {"401", "403", "429", "503"} <= set(operation["responses"])
                assert "Scope `" in operation["description"]


def test_the_schema_lists_every_parameter_and_answer(schema):
    trending = schema["paths"]["/api/v1/trending"]["get"]
    assert {each["name"] for each in trending["parameters"]} == {
        "limit", "category", "country", "exclude", "If-None-Match",
    }  # fmt: skip
    assert set(schema["paths"]["/api/v1/events"]["post"]["responses"]) == {
        "202", "400", "401", "403", "413", "415", "429", "500", "503",
    }  # fmt: skip
    event = schema["components"]["schemas"]["Event"]["properties"]
    assert set(event) >= {"actor", "item", "event_id", "kind", "occurred_at", "context"}


def test_every_parameter_of_a_list_is_documented_and_every_source(schema):
    calls = dict(re.findall(LIST_ROW, DOCS, re.MULTILINE))
    for path, said in calls.items():
        for parameter in schema["paths"][path]["get"]["parameters"]:
            assert parameter["in"] != "query" or f"`{parameter['name']}`" in said, (path, parameter["name"])
    for source in SOURCES:
        assert f"| {source} |" in DOCS


def test_the_docs_page_and_the_schema_need_no_other_host(db):
    client = Client()
    assert client.get("/api/schema/").status_code == 200
    page = client.get("/api/docs/").content.decode()
    assert "/static/drf_spectacular_sidecar/" in page
    assert not re.findall(r"""(?:src|href)=["']https?://""", page)
    asset = re.search(r'src="(/static/[^"]+swagger-ui-bundle[^"]*)"', page).group(1)
    script = client.get(asset)
    assert script.status_code == 200
    script.close()
