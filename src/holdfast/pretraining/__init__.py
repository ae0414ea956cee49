"""How the embedded model is made: built from scratch, and pre-trained on what the suite needs.

It is an ordinary Qwen2.5-VL checkpoint, only tiny. Nothing else in Holdfast knows about this
package: an experiment loads the embedded model's folder as it would load any other.
"""
