from tests.lab.fixtures import fresh_lab, fresh_story_lab, lab, services, story_lab

__all__ = ["fresh_lab", "fresh_story_lab", "lab", "services", "story_lab"]
