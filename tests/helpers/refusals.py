"""Expect a StyleTransferError with a message of one line."""

import pytest


def refusal(call, *arguments, **options) -> str:
    """Call `call`, which must raise a StyleTransferError. Return its message, which must be one line."""
    from nst.errors import StyleTransferError

    with pytest.raises(StyleTransferError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert message and "\n" not in message and len(message) < 400
    return message
