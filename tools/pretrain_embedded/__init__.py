"""How the embedded model is made: built from scratch, and pre-trained on what the suite needs.

It is an ordinary Qwen2.5-VL checkpoint, only tiny. Run it with `python tools/pretrain_embedded --out FOLDER`.
"""
