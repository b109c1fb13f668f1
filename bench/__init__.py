"""Which way of running a PyTorch model on this CPU is fastest, and how sure are we?"""
