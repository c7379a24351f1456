"""Question and answer of an example, as texts."""

from __future__ import annotations

from dopd_lightning.data import Example, completion_text, extract_answer


def question_of(example: Example) -> str:
    """The prompt as one text: itself, the message of a chat that has one, or else all messages with their roles."""
    prompt = example["prompt"]
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def last_question_of(example: Example) -> str:
    """Return the last user message, whose language a hint should have; a system prompt may be in another."""
    prompt = example["prompt"]
    if isinstance(prompt, str):
        return prompt
    said = [message["content"] for message in prompt if message["role"] == "user"]
    return said[-1] if said else prompt[-1]["content"]


def answer_of(example: Example) -> str | None:
    """The final answer: ``answer``, or what a completion marks as it; ``None`` where neither is there."""
    answer = example.get("answer")
    if answer is not None:
        return extract_answer(str(answer)) or None
    completion = completion_text(example).strip()
    marked = extract_answer(completion)
    return marked if marked and marked != completion else None
