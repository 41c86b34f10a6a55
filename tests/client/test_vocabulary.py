"""One act, one name: what a user's client, a service's and the synchronous one call alike, they do alike."""

from __future__ import annotations

import asyncio
import inspect
import pydoc
from typing import Any, get_type_hints

import pytest

import presenced
import presenced.sync
from presenced.client.act_group import ActGroup
from presenced.client.acts import UserActs
from presenced.client.connector import Connecting
from presenced.client.contact_acts import ContactActs
from presenced.client.privacy_acts import PrivacyActs
from presenced.errors import AddressError
from tests.support.in_process import InProcess

ONLY_A_USERS = {
    "user": "a service is nobody in particular",
    "device": "and has none of its own",
    "own": "only a device shows its user's own state",
    "on_own": "the same",
    "contacts": "a device watches its user's contacts; a service has none, and watches by name or all",
    "contact_changes": "a service follows the events `contact_request` and `contact_change` of everybody",
    "on_contact": "the same",
}
ONLY_A_SERVICES = {
    "attach": "a user's link is one device, attached by connecting",
    "attach_many": "the same",
    "attached": "the same",
    "detach": "the same; leaving is `close`",
    "open_page": "pages are a backend's",
    "on_taken": "a user's link that is replaced is closed, which `on_state` tells",
    "losses": "the same",
    "revoke": "takes something from others, which no user may",
    "kick": "the same",
    "erase": "the same",
    "find_claims": "about everybody, as a service that ends what another has begun needs it",
    "routes": "about many at once; a user is asked about alone",
    "touch": "what a device sends says that it was seen",
    "events": "about everybody, which only a service may be told",
    "on": "the same",
    "followers": "of those",
    "forget_follower": "the same",
    "watch_all": "the same",
    "set_contacts": "the list as a whole is an application's, which has the graph in a database of its own",
}
"""What one of them has alone, and why."""

CLIENT, SERVICE = presenced.Client, presenced.Service


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


SHARED = sorted(names(CLIENT) & names(SERVICE))


def parameters(function: Any, *without: str) -> list[tuple[str, Any, Any, str]]:
    """What a caller writes, `self` apart."""
    found = [one for one in inspect.signature(function).parameters.values() if one.name not in ("self", *without)]
    return [(one.name, one.kind, one.default, str(one.annotation)) for one in found]


def test_neither_has_an_act_that_the_other_lacks_without_a_reason() -> None:
    assert names(CLIENT) - names(SERVICE) == set(ONLY_A_USERS)
    assert names(SERVICE) - names(CLIENT) == set(ONLY_A_SERVICES)


@pytest.mark.parametrize("name", SHARED)
def test_a_services_method_takes_user_and_device_first_and_is_a_users_otherwise(name: str) -> None:
    mine, theirs = getattr(CLIENT, name), getattr(SERVICE, name)
    if mine is theirs:
        return
    wanted = parameters(mine)
    assert wanted in (parameters(theirs, "user"), parameters(theirs, "user", "device"))
    taken = [one[0] for one in parameters(theirs)]
    assert taken[0] == "user" and ("device" not in taken[:3] or taken.index("device") in (1, 2))
    assert inspect.signature(mine).return_annotation == inspect.signature(theirs).return_annotation


ACTS = sorted({name for group in (UserActs, ContactActs, PrivacyActs) for name in names(group)} - names(ActGroup))


@pytest.mark.parametrize("name", ACTS)
def test_an_act_is_a_services_method_and_refuses_an_empty_user_before_anything_is_sent(name: str) -> None:
    act = getattr(SERVICE, name)
    taken = [one for one in parameters(act) if one[2] is inspect.Parameter.empty]
    if taken and taken[0][0] == "user":
        # Nothing stands behind the first argument: what is sent would be an AttributeError.
        client = object.__new__(SERVICE)
        with pytest.raises(AddressError, match="the user name is empty"):
            asyncio.run(act(client, "", *["x"] * (len(taken) - 1)))
    else:
        assert name == "find_claims", "every other act is about one user"


def test_a_user_whom_a_users_client_is_given_is_named_as_the_mistake() -> None:
    client = object.__new__(CLIENT)
    client._exchange = None
    with pytest.raises(
        TypeError, match=r"explain\(\): too many positional arguments; it is about the client's own user"
    ):
        asyncio.run(client.explain("bob"))


def test_questions_about_anybody_are_one_function_of_both() -> None:
    for name in (
        "get_status",
        "get_statuses",
        "get_online_users",
        "online_users",
        "count_online",
        "who",
        "get_members",
        "await_status",
    ):
        assert getattr(CLIENT, name) is getattr(SERVICE, name)


@pytest.mark.parametrize("name", ["connect", "connect_service"])
def test_the_synchronous_connect_has_the_signature_of_the_other(name: str) -> None:
    mine, theirs = getattr(presenced.sync, name), getattr(presenced, name)
    assert parameters(mine) == parameters(theirs)
    assert get_type_hints(theirs)["return"].__origin__ is Connecting
    returned = {"connect": "BlockingClient", "connect_service": "BlockingService"}[name]
    assert inspect.signature(mine).return_annotation == mine.__annotations__["return"] == returned
    shown = pydoc.render_doc(mine, renderer=pydoc.plaintext)
    assert f"in module presenced.sync\n\n{name}(url: 'str | None' = None, *, host:" in shown
    assert "request_timeout_s: 'float' = 10.0" in shown and "with connect" in shown
    with pytest.raises(TypeError, match="unexpected keyword argument 'tiemout_s'"):
        mine("presence://alice@127.0.0.1:1/laptop", tiemout_s=1)


def test_the_synchronous_clients_have_the_names_and_signatures_of_the_others() -> None:
    with (
        InProcess() as server,
        presenced.sync.connect(f"presence://alice@127.0.0.1:{server.port}/laptop") as me,
        presenced.sync.connect_service(f"presence://app@127.0.0.1:{server.port}") as p,
    ):
        for kind, client in ((CLIENT, me), (SERVICE, p)):
            assert set(dir(client)) == names(kind)
            for name in names(kind):
                method = getattr(kind, name)
                if inspect.isfunction(method):
                    assert parameters(getattr(client, name)) == parameters(method)
