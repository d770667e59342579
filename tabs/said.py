"""What the status line and the token strip say, as the values of their viewers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import gradio as gr

from lens_core.bounds import bound_of
from tabs.background import Progress
from tabs.viewers import drawn
from tabs.words import phrase

if TYPE_CHECKING:
    from tabs.runtime import UserError

_WAITING = json.dumps(drawn({"state": "busy", "text": phrase("status.waiting")}))
WAITING = f"() => {{ lens.shell.stopping = false; return {_WAITING}; }}"
"""Said by the browser itself the moment a run is asked for; the server's words follow."""


def loading(progress: Progress) -> dict[str, Any]:
    """While the model stack comes up behind the page."""
    return {"state": "loading", "text": phrase(progress.key, **progress.values)}


def busy(progress: Progress) -> dict[str, Any]:
    """While something is under way."""
    text = phrase(progress.key, **progress.values)
    return {"state": "busy", "text": text, "done": progress.done, "total": progress.total}


def ready() -> dict[str, Any]:
    """When nothing is under way."""
    return {"state": "ready", "text": phrase("status.ready")}


def done(result: dict[str, Any], tab: str, bar: tuple[str, ...]) -> dict[str, Any]:
    """After a run: what it read, and what the bar said then."""
    n_tokens = len(result["input"]["tokens"])
    text = phrase("status.read", model=result["model"]["id"], n=n_tokens)
    return {"state": "done", "text": text, "ran": {"tab": tab, "bar": bar}}


def measured() -> dict[str, Any]:
    """After more was worked out about a result that is there."""
    return {"state": "done", "text": phrase("status.measured")}


def failure(error: UserError) -> dict[str, Any]:
    """After an error: what was wrong, and what puts it right."""
    actions = []
    if error.remedy and error.remedy.get("action") == "shorten":
        text = phrase("status.shorten", limit=error.remedy["limit"])
        actions.append({"name": "shorten", "text": text, "limit": error.remedy["limit"]})
    if error.kind == "Prompt":
        actions.append({"name": "prompt", "text": phrase("status.edit_prompt")})
    state = "off" if error.kind == "NotExact" else "error"
    title = phrase(f"error.{error.kind}")
    return {"state": state, "title": title, "text": str(error.message), "actions": actions}


def remark(error: UserError) -> dict[str, Any]:
    """An error that leaves what is shown as it is, for the notice."""
    return {"text": str(error.message)}


def crashed(status: str) -> Any:
    """After an error that is ours, not the user's; nothing where the run was stopped."""
    if status == "stopped":
        return gr.skip()
    title, text = phrase("status.crashed_title"), phrase("status.crashed")
    return drawn({"state": "error", "title": title, "text": text})


def stopped() -> str:
    """After Stop."""
    again = {"name": "run", "text": phrase("status.again")}
    return drawn({"state": "stopped", "text": phrase("status.stopped"), "actions": [again]})


def strip(result: dict[str, Any], limit: int, device: str) -> dict[str, Any]:
    """What the token strip shows of a result: tokens, next token, badge and conditions."""
    model, timing = result["model"], result["timing"]
    facts = [model["dtype"], device]
    if timing:
        facts.append(f"{sum(timing.values()):.2f} s")
    return {
        "tokens": result["input"]["tokens"],
        "n_prompt": result["input"].get("n_prompt"),
        "limit": limit,
        "prediction": prediction(result),
        "badge": badge(result),
        "facts": facts,
    }


def prediction(result: dict[str, Any]) -> dict[str, Any] | None:
    """The model's most likely token after the text; None where its end was not read."""
    if "final_ids" in result:
        ids, probabilities = result["final_ids"], result["final_p"]
    else:
        final = result.get("final") or {"ids": [], "p": []}
        ids, probabilities = final["ids"], final["p"]
    if not ids or not reads_end(result):
        return None
    return {"entry": result["vocab"][str(ids[-1])], "p": probabilities[-1]}


def reads_end(result: dict[str, Any]) -> bool:
    """The last position of the text is among those that were read."""
    positions = result.get("positions")
    return positions is None or positions[-1] == len(result["input"]["tokens"]) - 1


def badge(result: dict[str, Any]) -> dict[str, Any]:
    """Whether the model can be taken apart exactly, with the measured errors and its facts."""
    check, model = result["self_check"], result["model"]
    facts = ("class", "n_layers", "n_heads", "n_kv_heads", "d_model", "vocab_size")
    detail = [phrase("badge.facts", **{name: model.get(name) for name in facts})]
    for name in ("readout", "completeness", "capture"):
        key = "capture_vs_default_rel_err" if name == "capture" else f"{name}_rel_err"
        if check.get(key) is not None:
            detail.append(phrase(f"badge.{name}", error=scientific(check[key])))
    detail += result["warnings"]
    error = check["completeness_rel_err"]
    if error is None:
        return {"state": "poor", "text": phrase("badge.none"), "detail": detail}
    fine = error <= bound_of(model["dtype"], quantized=model["quantization"] is not None)
    text = phrase("badge.exact" if fine else "badge.off", error=scientific(error))
    return {"state": "good" if fine else "poor", "text": text, "detail": detail}


def scientific(error: float) -> str:
    """A small number with one digit: 3e-7."""
    return "0" if error == 0 else f"{error:.0e}".replace("e-0", "e-").replace("e+00", "")


def carried(event: gr.EventData) -> dict[str, Any]:
    """What an event carries; nothing where the browser sent something else."""
    return event._data if isinstance(event._data, dict) else {}


def index_of(event: gr.EventData, name: str, size: int) -> int:
    """A number that an event carries; what the browser sends is not trusted."""
    sent = event._data
    index = sent.get(name) if isinstance(sent, dict) else None
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < size:
        raise gr.Error(f"There is no {name} {index!r} here.", print_exception=False)
    return index
