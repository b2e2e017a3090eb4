"""What to change about a deployment, by what a probe found: the wrong deployments that are known, and the way out."""

from __future__ import annotations

from railscribe.probing import Found
from railscribe.values import EngineInfo, ProbeName, ProbeResult

_KWARGS = (
    "The server, or a gateway before it, drops the body's top-level chat_template_kwargs or {}. Serve the model "
    "yourself with its own chat template (vLLM, SGLang, NIM, TensorRT-LLM), and let gateways pass that field on."
)
_WEAK = "How well the model follows policies is measured by railscribe eval on rows with policies of yours."
_CHANGES = {
    (ProbeName.POLICY, ProbeResult.IGNORED): _KWARGS.format("custom_policy in it")
    + " Until then guards refuse to judge under such a policy (RAILSCRIBE_ALLOW_IGNORED_POLICY lets them).",
    (ProbeName.TAXONOMY, ProbeResult.IGNORED): _KWARGS.format("custom_taxonomy in it")
    + " Until then guards refuse to judge under such a policy (RAILSCRIBE_ALLOW_IGNORED_POLICY lets them).",
    (ProbeName.POLICY, ProbeResult.FAILED): _WEAK,
    (ProbeName.TAXONOMY, ProbeResult.FAILED): _WEAK,
    (ProbeName.CATEGORIES, ProbeResult.IGNORED): _KWARGS.format("request_categories in it"),
    (ProbeName.THINKING, ProbeResult.IGNORED): _KWARGS.format("enable_thinking in it")
    + " Hosted endpoints are known to drop it; older models of the family do not think.",
    (
        ProbeName.RESPONSE,
        ProbeResult.IGNORED,
    ): "The assistant's turn does not reach the model. Serve it with the "
    "checkpoint's own chat template, and let gateways pass a conversation that ends on an assistant turn.",
    (ProbeName.RESPONSE, ProbeResult.REFUSED): "The server takes neither a conversation that ends on an "
    "assistant turn nor the response folded into the user's turn; its log says why.",
    (ProbeName.IMAGE, ProbeResult.IGNORED): "Pictures are dropped without a word. SGLang needs "
    "--enable-multimodal, llama.cpp --mmproj, vLLM --limit-mm-per-prompt '{\"image\": 1}'; NIM needs nothing.",
    (ProbeName.IMAGE, ProbeResult.REFUSED): "Checks of pictures are undecided, cause modality. Serve a model "
    "that sees, or use the embedded guard, which reads the words in them.",
    (
        ProbeName.LOGPROBS,
        ProbeResult.IGNORED,
    ): "Checks have no scores, so bands and AUROC have nothing to go by. "
    "vLLM gives them unless --max-logprobs is below 5.",
}
_REFUSED = (
    "The server refused the request; its log says why. Are its chat template and model the checkpoint's own?"
)
_OF_ENGINE = {
    (ProbeName.POLICY, ProbeResult.IGNORED): "The chat template does not place custom_policy in the prompt.",
    (
        ProbeName.TAXONOMY,
        ProbeResult.IGNORED,
    ): "The chat template does not place custom_taxonomy in the prompt.",
}
"""For engines in this process, which have no server to mend."""


def remedy(found: Found, engine: EngineInfo) -> str | None:
    """Return what to change about *engine*, where *found* calls for a change."""
    what = found.name, found.result
    if engine.name != "openai_compatible" and what in _OF_ENGINE:
        return _OF_ENGINE[what]
    return _CHANGES.get(what, _REFUSED if found.result is ProbeResult.REFUSED else None)
