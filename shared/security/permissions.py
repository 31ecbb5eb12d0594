"""The permission table: which role may do what, and how far. Nothing else in the platform lists roles for a route.

A cell is an access and a scope. Access: W act and read, R read, M read without the identity, A counts only. Scope: N
the whole country, P own province, C own county, O own organisation. No cell: refused. The scope of a cell is that of
the role, because a token names the one area that its holder acts in; `security.scopes` puts it into every query.
`docs/permissions.md` is printed from here.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

ACCESS = {"A": 1, "M": 2, "R": 3, "W": 4}  # each includes the ones before it
_CLAIMS = {"N": (), "P": ("province",), "C": ("province", "county"), "O": ("lead",)}  # that a token must have, by scope

ROLE_SCOPES: Mapping[str, str] = MappingProxyType(
    {
        "ministry_admin": "N",
        "jahad_national": "N",
        "council": "P",
        "manager": "P",
        "labour_expert": "P",
        "screener": "P",
        "registrar": "P",
        "county_operator": "C",
        "lead": "O",
        "analyst": "N",
        "auditor": "N",
        "operator": "N",
        "service": "N",
        "consumer": "N",
    }  # applicants have no account: the open form and the tracking code are theirs
)

PROGRAMS = frozenset({"service", "consumer"})  # roles that no person has

# Offices that have no role of their own, and the role with which they sign in.
STANDS_FOR: Mapping[str, str] = MappingProxyType(
    {
        "call centre": "registrar",
    }
)

TABLE: Mapping[str, Mapping[str, str]] = {
    # registration
    "register": {"registrar": "W P", "county_operator": "W C", "manager": "W P", "service": "W N"},
    "bulk_import": {"registrar": "W P", "manager": "W P", "ministry_admin": "W N", "jahad_national": "W N"},
    "see_identity": {
        "registrar": "R P",
        "county_operator": "R C",
        "manager": "R P",
        "screener": "R P",
        "labour_expert": "M P",
        "ministry_admin": "M N",
        "jahad_national": "M N",
    },
    "find_person": {"registrar": "W P", "county_operator": "W C", "manager": "W P"},
    "correct": {"registrar": "W P", "county_operator": "W C", "manager": "W P"},
    "withdraw": {"registrar": "W P", "county_operator": "W C", "manager": "W P"},
    "reissue_tracking_code": {"registrar": "W P", "county_operator": "W C", "manager": "W P"},
    "erase": {"manager": "W P", "ministry_admin": "W N"},
    "open_round": {"ministry_admin": "W N"},
    "set_quota": {  # to propose it: it takes effect when a second person has signed
        "ministry_admin": "W N",
        "jahad_national": "W N",
        "manager": "W P",
        "labour_expert": "W P",
        "analyst": "R N",
        "auditor": "R N",
    },
    "move_seats": {"ministry_admin": "W N", "jahad_national": "W N"},  # likewise
    "sign_proposal": {"ministry_admin": "W N"},
    "read_seats": {  # the ledger; the waiting list, which has a line for each applicant, needs R
        "ministry_admin": "R N",
        "jahad_national": "R N",
        "council": "A P",
        "manager": "R P",
        "labour_expert": "R P",
        "registrar": "R P",
        "analyst": "A N",
        "auditor": "R N",
    },
    # screening
    "decide_screening": {
        "screener": "W P",
        "manager": "W P",
        "labour_expert": "R P",
        "jahad_national": "R N",
        "auditor": "R N",
    },
    "record_info": {  # the papers that screening asked for, and that came to a desk
        "registrar": "W P",
        "county_operator": "W C",
        "screener": "W P",
        "manager": "W P",
        "labour_expert": "R P",
        "auditor": "R N",
    },
    "file_appeal": {"registrar": "W P", "manager": "W P"},  # for the applicant, by a signed form
    "decide_appeal": {
        "manager": "W P",
        "labour_expert": "W P",
        "jahad_national": "W N",
        "screener": "R P",
        "registrar": "R P",
        "auditor": "R N",
    },
    "identify_capacity": {"screener": "W P", "manager": "W P", "auditor": "R N"},
    # market
    "enlist_lead": {"ministry_admin": "W N", "manager": "W P"},
    "read_leads": dict.fromkeys(  # the directory of lead enterprises: P0, the same for everybody who may read it
        ("ministry_admin", "council", "manager", "labour_expert", "screener", "lead", "analyst", "auditor"), "R N"
    ),
    "match": {"manager": "W P", "lead": "W O", "labour_expert": "R P", "auditor": "R N"},
    "declare_connection": {"manager": "W P", "lead": "W O", "service": "W N"},
    "import_connections": {"manager": "W P"},
    "verify_evidence": {"manager": "W P", "labour_expert": "W P", "lead": "W O", "service": "W N"},
    # all services
    "reports": {
        "county_operator": "A C",
        "registrar": "A P",
        "screener": "A P",
        "manager": "A P",
        "labour_expert": "A P",
        "council": "A P",
        "ministry_admin": "A N",
        "jahad_national": "A N",
        "analyst": "A N",
        "auditor": "A N",
    },
    "dead_letters": {"operator": "W N", "auditor": "R N"},
    "replay": {"operator": "W N"},
    "reconcile": {"operator": "W N", "auditor": "R N"},
    "read_owner": {"consumer": "W N"},  # a service of the platform, about the events that it consumes
    "operations": {"operator": "R N", "auditor": "R N"},
    # the page where a person lands after sign-in: everybody but the programs
    "own_work": {role: f"R {scope}" for role, scope in ROLE_SCOPES.items() if role not in PROGRAMS},
}

DIRECTORIES = frozenset({"read_leads"})  # actions whose scope is wider than that of some of their roles


def roles_for(action: str, access: str) -> frozenset[str]:
    """Return the roles whose cell of this action has at least this access. Raise ValueError outside the table."""
    if action not in TABLE or access not in ACCESS:
        raise ValueError(f"the permission table has no action {action!r} with access {access!r}")
    roles = frozenset(role for role, cell in TABLE[action].items() if ACCESS[cell[0]] >= ACCESS[access])
    if not roles:
        raise ValueError(f"in the permission table no role has access {access} to {action}")
    return roles


def permits(roles: Collection[str], action: str, access: str = "W") -> bool:
    """Return whether one of these roles may do this."""
    return not roles_for(action, access).isdisjoint(roles)


def bound_to(roles: Collection[str]) -> frozenset[str]:
    """Return the claims that a token with these roles must have: province, county, lead."""
    return frozenset(claim for role in roles for claim in _CLAIMS[ROLE_SCOPES.get(role, "N")])
