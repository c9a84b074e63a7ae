"""Sphinx's configuration of the documentation site; docs/build.py makes the pages that it reads."""

project = "ascend.gpustack"
title = html_title = project
author = "ascend.gpustack contributors"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
# As deep as the links to sections go
myst_heading_anchors = 4

html_theme = "furo"
html_css_files = ["flow.css"]
html_static_path = ["_static"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
pygments_style = "ansible"
highlight_language = "YAML+Jinja"

# A reference that leads nowhere is a warning, and a warning fails the build; what belongs to Ansible is documented elsewhere.
nitpicky = True
nitpick_ignore_regex = [
    ("std:ref", r"action_plugins|common_return_values|ansible_configuration_settings"),
    ("std:ref", r"ansible_collections\.(ansible|community)\..*"),
]
