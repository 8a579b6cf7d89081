"""How alike does a model represent one problem in two languages, and where does that come from?"""
