"""Question and answer of an example as texts."""

from __future__ import annotations

from dopd_lightning.data import Example, completion_text, extract_answer, prompt_text


def question_of(example: Example) -> str:
    """Return the prompt as one text; for a chat with one message, only its content."""
    prompt = example["prompt"]
    return prompt_text(prompt) if isinstance(prompt, str) or len(prompt) > 1 else prompt[0]["content"]


def last_question_of(example: Example) -> str:
    """Return the last user message, whose language a hint should have; a system prompt may be in another."""
    prompt = example["prompt"]
    if isinstance(prompt, str):
        return prompt
    said = [message["content"] for message in prompt if message["role"] == "user"]
    return said[-1] if said else prompt[-1]["content"]


def answer_of(example: Example) -> str | None:
    """Return the final answer: ``answer``, or the answer that the completion marks; ``None`` if there is neither."""
    answer = example.get("answer")
    if answer is not None:
        return extract_answer(str(answer)) or None
    completion = completion_text(example).strip()
    marked = extract_answer(completion)
    return marked if marked and marked != completion else None
