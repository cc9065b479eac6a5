"""Reading GeneNetWeaver's SBML level 2 networks with all kinetic parameters."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from agentkit_gene.simulation.errors import BadNetworkError
from agentkit_gene.simulation.network import Gene, Input, Module, Network, States

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMESPACE = re.compile(r"\{.*?\}")


def read_sbml(text: str, place: str) -> Network:
    """A GNW network: mRNA and protein per gene, regulation by protein, levels as fractions (not counts).

    `alpha` of state s has bit j for module j; a module's regulators follow the reaction's list of modifiers,
    activators first.

    Raises:
        BadNetworkError: not GNW's layout; the reaction and the missing parameter are named.
    """
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        raise BadNetworkError(f"{place}: entity declarations are not read")
    try:
        root = ET.fromstring(text)  # noqa: S314 - entity declarations were refused above
    except ET.ParseError as error:
        raise BadNetworkError(f"{place}: not XML: {error}") from None
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", element.tag)
    model = root.find("model")
    if model is None:
        raise BadNetworkError(f"{place}: no <model>")
    species = [s.get("id", "") for s in model.iterfind("listOfSpecies/species") if s.get("id") != "_void_"]
    reactions = {r.get("id", ""): r for r in model.iterfind("listOfReactions/reaction")}
    genes = tuple(_gene(name, reactions, place) for name in species)
    return Network(model.get("name") or place, genes, source=place, kinetics="of the file (GeneNetWeaver)")


def _gene(name: str, reactions: Mapping[str, ET.Element], place: str) -> Gene:
    for part in ("synthesis", "degradation"):
        if f"{name}_{part}" not in reactions:
            raise BadNetworkError(f"{place}: reaction {name}_{part} is missing")
    synthesis = reactions[f"{name}_synthesis"]
    values = _Parameters(synthesis, f"{place}, {name}_synthesis")
    decay = _Parameters(reactions[f"{name}_degradation"], f"{place}, {name}_degradation")["delta"]
    regulators = [
        m.get("species", "") for m in synthesis.iterfind("listOfModifiers/modifierSpeciesReference")
    ]
    modules = _modules(regulators, values)
    return Gene(
        name,
        decay=decay,
        states=States(values["max"], modules, tuple(values[f"a_{s}"] for s in range(1 << len(modules)))),
        translation=values["maxTranslation"],
        protein_decay=values["deltaProtein"],
    )


def _modules(regulators: list[str], values: _Parameters) -> tuple[Module, ...]:
    modules: list[Module] = []
    used = 0
    while used < len(regulators):
        i = len(modules) + 1
        activators, deactivators = int(values[f"numActivators_{i}"]), int(values[f"numDeactivators_{i}"])
        size = activators + deactivators
        if size == 0 or used + size > len(regulators):
            raise BadNetworkError(f"{values.place}: module {i} does not fit {len(regulators)} regulators")
        inputs = tuple(
            Input(
                regulators[used + j], values[f"k_{used + j + 1}"], values[f"n_{used + j + 1}"], j < activators
            )
            for j in range(size)
        )
        modules.append(Module(inputs, values[f"bindsAsComplex_{i}"] == 1))
        used += size
    return tuple(modules)


class _Parameters:
    """The parameters of one reaction by name; a missing one raises with the place."""

    def __init__(self, reaction: ET.Element, place: str) -> None:
        self.place = place
        self._values = {p.get("id", ""): p.get("value", "") for p in reaction.iter("parameter")}

    def __getitem__(self, key: str) -> float:
        try:
            return float(self._values[key])
        except (KeyError, ValueError):
            raise BadNetworkError(f"{self.place}: parameter {key!r} is missing or no number") from None
