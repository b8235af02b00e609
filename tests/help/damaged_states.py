"""Damage stored states, as a failing disk would."""

from recommender.models import Checkpoint, Piece


def damage(checkpoints=None):
    """Change a character in the header of these checkpoints, or of all of them."""
    for each in Checkpoint.objects.all() if checkpoints is None else checkpoints:
        header = each.header.replace('"stream_ms":', '"stream_mt":', 1)
        assert header != each.header
        Checkpoint.objects.filter(pk=each.pk).update(header=header)


def damage_a_piece(checkpoint):
    """Flip a bit in the middle of one of a checkpoint's pieces."""
    piece = Piece.objects.filter(hash__in=checkpoint.pieces, data__isnull=False).order_by("-n_bytes").first()
    data = bytearray(piece.data)
    data[len(data) // 2] ^= 1
    Piece.objects.filter(pk=piece.pk).update(data=bytes(data))
